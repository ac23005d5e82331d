"""Draw what the stages found as one picture: `python -m preprocess.preview --help`.

A row is a face track: crops over time with the face box in the track's colour, the landmarks, the outline of
the hull mask (white) and the manipulation mask (red).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import h5py
import numpy as np

from preprocess.cli import UserError, run_command
from preprocess.crop_file import CropReader, boxes_in_crops, decode_png
from preprocess.samples import ShardFiles
from preprocess.schemas import OK
from preprocess.store import BlobReader, atomic_path, read_rows

# Okabe and Ito's colours, which colour-blind readers tell apart; RGB
_TRACK_COLOURS = [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (204, 121, 167)]
_MASK_COLOUR = np.array((255, 40, 40))
_TITLE_PX = 22


def draw_crop(
    image: np.ndarray,
    box: np.ndarray,
    landmarks: np.ndarray | None,
    hull: np.ndarray | None,
    manipulation: np.ndarray | None,
    colour: tuple[int, int, int],
    cell_px: int,
) -> np.ndarray:
    """Draw one crop with what is known of it.

    Args:
        image: RGB uint8 `(height, width, 3)`.
        box: (4,) face box x0, y0, x1, y1 in crop pixels.
        landmarks: (P, 2) x, y in crop pixels, or None.
        hull: `(height, width)` uint8 hull mask, or None.
        manipulation: `(height, width)` uint8 manipulation mask, or None.
        colour: RGB of the box.
        cell_px: Side of the square that the crop is fitted into.

    Returns:
        `(cell_px, cell_px, 3)` RGB uint8.
    """
    height, width = image.shape[:2]
    scale = cell_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    shown = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    if manipulation is not None:
        share = cv2.resize(manipulation, size)[..., None] / 255 * 0.4
        shown = (shown * (1 - share) + _MASK_COLOUR * share).astype(np.uint8)
    if hull is not None:
        outline, _ = cv2.findContours(cv2.resize(hull, size), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(shown, outline, -1, (255, 255, 255), 1)
    x0, y0, x1, y1 = (round(float(value) * scale) for value in box)
    cv2.rectangle(shown, (x0, y0), (x1 - 1, y1 - 1), colour, 1)
    for x, y in landmarks if landmarks is not None else []:
        centre = (round((float(x) + 0.5) * scale), round((float(y) + 0.5) * scale))
        cv2.circle(shown, centre, 1, (0, 255, 90), -1, cv2.LINE_AA)
    cell = np.full((cell_px, cell_px, 3), 30, np.uint8)
    cell[: size[1], : size[0]] = shown
    return cell


def draw_shard(files: ShardFiles, *, n_videos: int, n_columns: int, cell_px: int, only: str = "") -> np.ndarray:
    """Draw the face tracks of a shard.

    Args:
        files: The shard's files.
        n_videos: How many videos, evenly chosen from the shard.
        n_columns: Crops a track, evenly chosen over its time.
        cell_px: Side of a crop in the picture.
        only: Draw only videos whose id holds this text.

    Returns:
        RGB uint8 `(height, width, 3)`.

    Raises:
        UserError: No crop is there to draw.
    """
    landmarks = read_rows(files.landmarks, ["landmarks"])
    with CropReader(files.crops) as crops, h5py.File(files.masks, "r") as masks:
        hulls, manipulations = BlobReader(masks["hull"]), BlobReader(masks["manipulation"])
        rows = []
        for title, colour, chosen in _tracks(crops, n_videos, n_columns, only):
            rows.append(_title(title, n_columns * cell_px))
            cells = [np.full((cell_px, cell_px, 3), 30, np.uint8)] * n_columns
            for column, row in enumerate(chosen):
                (scale_x, _, shift_x), (_, scale_y, shift_y) = crops.crop_to_frame[row]
                scale, shift = np.array((scale_x, scale_y)), np.array((shift_x, shift_y))
                found = landmarks[row]["landmarks"]
                cells[column] = draw_crop(
                    crops.image(row),
                    boxes_in_crops(crops.box[row : row + 1], crops.crop_to_frame[row : row + 1])[0],
                    (np.reshape(found, (-1, 2)) - shift) / scale if found else None,
                    decode_png(hulls[row]) if hulls[row] else None,
                    decode_png(manipulations[row]) if manipulations[row] else None,
                    colour,
                    cell_px,
                )
            rows.append(np.concatenate(cells, axis=1))
    if not rows:
        raise UserError(f"{files.crops} holds no crop of a video whose id holds {only!r}; nothing to draw")
    return np.concatenate(rows)


def _tracks(
    crops: CropReader, n_videos: int, n_columns: int, only: str
) -> Iterator[tuple[str, tuple[int, int, int], np.ndarray]]:
    """Title, colour and chosen rows of each face track."""
    usable = crops.status == OK
    videos = [video for video in dict.fromkeys(crops.video_id[usable]) if only in video]
    for video in (videos[index] for index in _evenly(len(videos), n_videos)):
        of_video = np.flatnonzero(usable & (crops.video_id == video))
        for track in np.unique(crops.track_id[of_video]):
            of_track = of_video[crops.track_id[of_video] == track]
            title = f"{video}   track {track}   {len(of_track)} crops"
            colour = _TRACK_COLOURS[track % len(_TRACK_COLOURS)]
            yield title, colour, of_track[_evenly(len(of_track), n_columns)]


def _evenly(count: int, wanted: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(int)) if count else np.zeros(0, int)


def _title(text: str, width: int) -> np.ndarray:
    strip = np.zeros((_TITLE_PX, width, 3), np.uint8)
    ascii_text = text.encode("ascii", "replace").decode()
    cv2.putText(strip, ascii_text, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (235, 235, 235), 1, cv2.LINE_AA)
    return strip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="name of the data set")
    parser.add_argument("shard", nargs="?", default="0000", help="name of the shard (default: 0000)")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the store (default: data)")
    parser.add_argument("--output", type=Path, default=Path("preview.png"), help="picture to write")
    parser.add_argument("--only", default="", help="draw only videos whose id holds this text")
    parser.add_argument("--videos", type=int, default=12, help="videos to draw (default: 12)")
    parser.add_argument("--columns", type=int, default=8, help="crops a track (default: 8)")
    parser.add_argument("--cell-px", type=int, default=160, help="side of a crop in the picture (default: 160)")
    args = parser.parse_args()
    picture = draw_shard(
        ShardFiles.of(args.data, args.dataset, args.shard),
        n_videos=args.videos,
        n_columns=args.columns,
        cell_px=args.cell_px,
        only=args.only,
    )
    done, encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not done:
        raise UserError(f"a picture of {picture.shape[0]} rows cannot be encoded; ask for fewer --videos")
    with atomic_path(args.output) as temporary:
        temporary.write_bytes(encoded.tobytes())
    print(args.output)


if __name__ == "__main__":
    run_command(main)
