"""The words that the `status` of a row may hold: what became of a video, a sampled frame, a face or a crop.

A row whose `status` is not `ok` stands for something lost or left out and says why in `message`.
"""

from __future__ import annotations

OK = "ok"
# of a video, set by `index`
MISSING = "missing"  # a list or metadata file names it, the folder does not hold it
UNREADABLE = "unreadable"  # no decoder opens it, or it holds no video stream
UNLABELLED = "unlabelled"  # the folder holds it, but nothing says whether it is real or fake
# of a video, set by `index`, or of a face, set by `faces`
UNUSED = "unused"  # there, but left out by a setting (splits, downsample_fakes, faces_per_video)
# of a video or frame, set by `frames`, `faces`, `crops`
NO_FRAMES = "no_frames"  # opens, but contains no frames
UNDECODED = "undecoded"  # the frame was sampled but did not decode (a file shorter than it says)
NO_FACE = "no_face"
# of a crop, set by `landmarks`
NO_LANDMARKS = "no_landmarks"  # the config leaves landmarks out
# of a video, set by `samples`
PARTIAL = "partial"  # usable, but frames were lost

VIDEO_STATUS = (OK, PARTIAL, UNUSED, MISSING, UNREADABLE, UNLABELLED, NO_FRAMES, UNDECODED, NO_FACE)
