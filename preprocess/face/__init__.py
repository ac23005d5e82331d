"""Faces in frames: finding them, linking them into face tracks, their margins, their landmarks.

Imports `running` and `video`.
"""
