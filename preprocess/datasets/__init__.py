"""One module per published layout; each reads its tree exactly as the owners distribute it.

To add a layout, write a module with `find_videos(root, dataset, settings) -> list[RawVideo]` and name it here.

May import: `store`, `running`, `video`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from preprocess.datasets import celebdf, dfdc, faceforensics, images, videos
from preprocess.datasets.downsample import left_out_fakes
from preprocess.datasets.raw import IndexSettings, RawVideo

LAYOUTS: dict[str, Callable[[Path, str, IndexSettings], list[RawVideo]]] = {
    "faceforensics": faceforensics.find_videos,
    "celebdf": celebdf.find_videos,
    "dfdc": dfdc.find_videos,
    "videos": videos.find_videos,
    "images": images.find_videos,
}

__all__ = ["LAYOUTS", "IndexSettings", "RawVideo", "left_out_fakes"]
