"""Write crops of a shard as PNG files, for tools that need files: `python -m preprocess.export_crops --help`.

A crop becomes `<video_id>/<frame>_<track>.png` in the chosen folder, pixel for pixel as it is stored. With `--labels`
its label, 0 real or 1 fake, stands in `<video_id>/<frame>_<track>.txt` beside it, and `<split>.txt` in the folder lists
`<path> <label>` of the crops of each split.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from preprocess.running.cli import UserError, log, progress, run_command
from preprocess.running.parallel import ordered_map
from preprocess.store.atomic import atomic_path
from preprocess.store.crop_file import CropReader
from preprocess.store.image_codecs import encode_png
from preprocess.store.tables import read_table
from preprocess.video.outcomes import OK


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


def crop_path(crops: CropReader, row: int) -> Path:
    """Where a crop goes, relative to the folder."""
    return Path(crops.video_id[row], f"{crops.frame_index[row]:06d}_{crops.track_id[row]}.png")


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
        path = folder / crop_path(crops, row)
        image = crops.image(row)
        assert image is not None, "the rows hold images"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(image))
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from error

    for _ in progress(ordered_map(write, rows, threads), total=len(rows), description="export crops", unit="crop"):
        pass


def label_crops(crops: CropReader, rows: np.ndarray, samples: Path, folder: Path) -> dict[str, list[str]]:
    """Write the label of exported crops beside them; those without a label or a split are left out.

    Args:
        crops: The shard's crops.
        rows: Those that were exported.
        samples: Samples table of the data set.
        folder: Where they are.

    Returns:
        Lines `<path> <label>` by split, in the order of the crops; paths are relative to the folder.

    Raises:
        UserError: There is no samples table, or it does not know a crop.
    """
    columns = ["shard", "crop_row", "label", "split"]
    table = read_table(samples, columns).select(columns).to_pandas()
    of_shard = table[table["shard"] == crops.attrs["shard"]].set_index("crop_row")
    unknown = np.setdiff1d(rows, of_shard.index)
    if len(unknown):
        raise UserError(
            f"{samples} knows nothing of {len(unknown)} crops of shard {crops.attrs['shard']}, such as "
            f"{crop_path(crops, unknown[0])}: it is older than they are; run collect_samples for it again"
        )
    lines: dict[str, list[str]] = defaultdict(list)
    for row, label, split in zip(rows, *(of_shard.loc[rows, name] for name in ("label", "split")), strict=True):
        if pd.isna(label) or split is None:
            continue
        path = crop_path(crops, row)
        (folder / path).with_suffix(".txt").write_text(f"{int(label)}\n")
        lines[split].append(f"{path.as_posix()} {int(label)}")
    return lines


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="name of the data set")
    parser.add_argument("shard", nargs="?", default="0000", help="name of the shard, or all (default: 0000)")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the store (default: data)")
    parser.add_argument("--output", required=True, type=Path, help="folder to write to")
    parser.add_argument("--only", default="", help="only videos whose id holds this text")
    parser.add_argument("--track", type=int, help="only this face track of each video")
    parser.add_argument(
        "--labels", action="store_true", help="write labels beside the crops, and a list for each split"
    )
    parser.add_argument("--threads", type=int, default=1, help="crops written side by side (default: 1)")
    args = parser.parse_args()
    # the threads encode side by side; OpenCV's own would only compete with them
    cv2.setNumThreads(1)
    files = [args.data / "crops" / args.dataset / f"{args.shard}.h5"]
    if args.shard == "all":
        files = sorted(files[0].parent.glob("*.h5"))
        if not files:
            raise UserError(f"there is no crops file in {args.data / 'crops' / args.dataset}; run crop_faces first")
    n_crops = 0
    lists: defaultdict[str, list[str]] = defaultdict(list)
    for file in files:
        with CropReader(file) as crops:
            try:
                rows = choose_rows(crops, args.only, args.track)
            except UserError:
                # of all shards, one may hold nothing that is wanted; the last one tells when none did
                if file != files[-1] or n_crops:
                    continue
                raise
            export_crops(crops, rows, args.output, args.threads)
            n_crops += len(rows)
            if args.labels:
                samples = args.data / "samples" / f"{args.dataset}.parquet"
                for split, lines in label_crops(crops, rows, samples, args.output).items():
                    lists[split] += lines
    for split, lines in lists.items():
        with atomic_path(args.output / f"{split}.txt") as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines))
    print(f"{n_crops} crops in {args.output}")
    for split, lines in sorted(lists.items()):
        print(f"{len(lines)} with their labels in {args.output / f'{split}.txt'}")


if __name__ == "__main__":
    run_command(main)
