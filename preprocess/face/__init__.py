"""Faces in frames: finding them, linking them into face tracks, their margins, their landmarks.

May import: `running`, `video`.
"""
