"""What a video file holds, and its pixels: packets, presentation times, frames. Imports no other room."""
