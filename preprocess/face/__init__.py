"""Faces in frames: finding them, linking them into face tracks; their margins, landmarks and masks.

May import: `running`, `video`.
"""
