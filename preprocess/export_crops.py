"""Write crops of a shard as PNG files, for tools that need files: `python -m preprocess.export_crops --help`.

A crop becomes `<video_id>/<frame>_<track>.png` in the chosen folder, pixel for pixel as it is stored.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from preprocess.cli import UserError, log, progress, run_command
from preprocess.crop_file import CropReader, encode_png
from preprocess.parallel import ordered_map
from preprocess.schemas import OK


def choose_rows(crops: CropReader, only: str = "", track: int | None = None) -> np.ndarray:
    """Rows of the crops to write; lost crops among them are left out and counted in the log.

    Args:
        crops: The shard's crops.
        only: Text that the video's id must hold.
        track: Face track; None: all.

    Raises:
        UserError: There is none.
    """
    wanted = np.array([only in name for name in crops.video_id], bool)
    if track is not None:
        wanted &= crops.track_id == track
    rows = np.flatnonzero(wanted & (crops.status == OK))
    if n_lost := int(wanted.sum()) - len(rows):
        log.warning("%d crops were lost when they were cut and are left out", n_lost)
    if not len(rows):
        names = list(dict.fromkeys(crops.video_id))
        tracks = "" if track is None else f" and track {track}"
        raise UserError(
            f"shard {crops.attrs['shard']} of {crops.attrs['dataset']} holds no crop of a video whose id holds "
            f"{only!r}{tracks}; its {len(names)} videos with crops: {', '.join(names[:3]) or 'none'}, …"
        )
    return rows


def export_crops(crops: CropReader, rows: np.ndarray, folder: Path, threads: int = 1) -> None:
    """Write crops as PNG files; files of these names are replaced.

    Args:
        crops: The shard's crops.
        rows: Rows that hold images.
        folder: Where `<video_id>/<frame>_<track>.png` goes.
        threads: Crops written side by side.

    Raises:
        UserError: A video's id does not name a folder inside `folder`, or a file cannot be written.
    """

    def write(row: int) -> None:
        video = Path(crops.video_id[row])
        if video.is_absolute() or ".." in video.parts:
            raise UserError(f"the id {str(video)!r} names no folder inside {folder}; its crops cannot be exported")
        path = folder / video / f"{crops.frame_index[row]:06d}_{crops.track_id[row]}.png"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(crops.image(row)))
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from error

    for _ in progress(ordered_map(write, rows, threads), total=len(rows), description="export crops", unit="crop"):
        pass


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="name of the data set")
    parser.add_argument("shard", nargs="?", default="0000", help="name of the shard (default: 0000)")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the store (default: data)")
    parser.add_argument("--output", required=True, type=Path, help="folder to write to")
    parser.add_argument("--only", default="", help="only videos whose id holds this text")
    parser.add_argument("--track", type=int, help="only this face track of each video")
    parser.add_argument("--threads", type=int, default=1, help="crops written side by side (default: 1)")
    args = parser.parse_args()
    # the threads encode side by side; OpenCV's own would only compete with them
    cv2.setNumThreads(1)
    with CropReader(args.data / "crops" / args.dataset / f"{args.shard}.h5") as crops:
        rows = choose_rows(crops, args.only, args.track)
        export_crops(crops, rows, args.output, args.threads)
    print(f"{len(rows)} crops in {args.output}")


if __name__ == "__main__":
    run_command(main)
