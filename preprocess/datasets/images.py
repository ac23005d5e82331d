"""Any folder of images, at any depth: one label for all of them, or sub-folders `real/` and `fake/`."""

from __future__ import annotations

from pathlib import Path

from preprocess.datasets.raw import IMAGE_SUFFIXES, IndexSettings, RawVideo
from preprocess.datasets.videos import find_files


def find_videos(root: Path, dataset: str, settings: IndexSettings) -> list[RawVideo]:
    """Every file at any depth that is an image by its name, as the layout `videos` finds videos.

    Args:
        root: Folder of the images.
        dataset: Name of the data set.
        settings: `label`, `test_share` and `methods` are heeded.

    Returns:
        One RawVideo per image, of the kind `image`.

    Raises:
        UserError: No images, or no way to tell their label.
    """
    return find_files(root, dataset, settings, "images", "image", IMAGE_SUFFIXES)
