"""What a video file holds, and its pixels: packets, presentation times, frames; and what may become of a video.

May import: nothing.
"""
