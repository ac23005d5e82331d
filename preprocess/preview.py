"""Draw what the stages found in a shard as one picture: `python -m preprocess.preview --help`.

A row is a face track: crops over time with the face box in the track's colour, the landmarks, the outline of
the hull mask (white) and the manipulation mask (red). Crops that were lost say why, and so do, at the end, videos
without any crop. Stages that have not run yet are left out.
"""

from __future__ import annotations

import argparse
import textwrap
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageFont

from preprocess.running.cli import UserError, run_command
from preprocess.samples import ShardFiles
from preprocess.store.atomic import atomic_path
from preprocess.store.crop_file import CropReader, boxes_in_crops
from preprocess.store.mask_file import MaskReader
from preprocess.store.tables import read_table
from preprocess.video.outcomes import NO_FACE, OK, UNUSED

# Okabe and Ito's colours, which colour-blind readers tell apart; RGB
_TRACK_COLOURS = [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (204, 121, 167)]
_LANDMARK_COLOUR = (0, 255, 90)
_HULL_COLOUR = (255, 255, 255)
_MASK_COLOUR = (255, 40, 40)
_BACKGROUND, _STRIP, _TEXT, _FAINT = (18, 18, 18), (52, 52, 52), (235, 235, 235), (165, 165, 165)

_LINE_PX = 18
_LABEL_PX = 128  # column at the left that names the tracks
_MAX_LISTED = 12  # videos without crops that are named

# matplotlib brings it; OpenCV's own letters are ASCII, and names of videos are not
_FONT = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", 12)


@dataclass(frozen=True)
class Limits:
    """How much is drawn; what is left out is chosen evenly and counted in the picture.

    Attributes:
        videos: Videos of the shard.
        tracks: Face tracks of a video.
        columns: Crops of a track.
        cell_px: Side of a crop in the picture.
    """

    videos: int = 12
    tracks: int = 6
    columns: int = 8
    cell_px: int = 160


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
        shown = (shown * (1 - share) + np.array(_MASK_COLOUR) * share).astype(np.uint8)
    if hull is not None:
        outline, _ = cv2.findContours(cv2.resize(hull, size), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(shown, outline, -1, _HULL_COLOUR, 1)
    x0, y0, x1, y1 = (round(float(value) * scale) for value in box)
    cv2.rectangle(shown, (x0, y0), (x1 - 1, y1 - 1), colour, 2 if cell_px >= 120 else 1)
    for x, y in landmarks if landmarks is not None else []:
        centre = (round((float(x) + 0.5) * scale), round((float(y) + 0.5) * scale))
        cv2.circle(shown, centre, 1, _LANDMARK_COLOUR, -1, cv2.LINE_AA)
    cell = np.full((cell_px, cell_px, 3), _BACKGROUND, np.uint8)
    cell[: size[1], : size[0]] = shown
    return cell


def draw_shard(files: ShardFiles, limits: Limits, *, only: str = "") -> np.ndarray:
    """Draw the face tracks of a shard.

    Memory and time do not grow with the shard but for its columns, a few hundred bytes a crop: only images, landmarks
    and masks that are drawn are read.

    Args:
        files: The shard's files; landmarks, masks, faces and list may be absent.
        limits: How much to draw.
        only: Draw only videos whose id holds this text.

    Returns:
        RGB uint8 `(height, width, 3)`.

    Raises:
        UserError: Nothing is there to draw, or files of different runs lie side by side.
    """
    width = _LABEL_PX + limits.columns * limits.cell_px
    with CropReader(files.crops) as crops:
        with_crops = [name for name in dict.fromkeys(crops.video_id) if only in name]
        without = _videos_without_crops(files, set(with_crops), only)
        if not with_crops and not without:
            raise UserError(f"{files.crops} holds no video whose id holds {only!r}; nothing to draw")
        videos = [with_crops[index] for index in _evenly(len(with_crops), limits.videos)]
        plans = [_plan(crops, np.flatnonzero(crops.video_id == video), limits) for video in videos]
        drawn = [row for plan in plans for track in plan.tracks for row in track.chosen]
        with _Findings(files, crops, drawn) as findings:
            what = f"{len(with_crops)} videos with crops" + f" whose id holds {only!r}" * bool(only)
            if len(videos) < len(with_crops):
                what += f"; {len(videos)} drawn, evenly chosen, {len(with_crops) - len(videos)} left out"
            parts = _header(files, crops, what, findings.missing, width)
            lost_frames = _lost_frames(files, set(videos))
            for video, plan in zip(videos, plans, strict=True):
                parts.append(_video_strip(video, plan, lost_frames[video], width))
                for track in plan.tracks:
                    cells = [findings.cell(row, track.colour, limits.cell_px) for row in track.chosen]
                    blank = np.full((limits.cell_px, limits.cell_px, 3), _BACKGROUND, np.uint8)
                    cells += [blank] * (limits.columns - len(cells))
                    mask_sources = sorted(findings.mask_sources(track.chosen))
                    parts.append(np.concatenate([_track_label(track, mask_sources, limits.cell_px), *cells], axis=1))
        if without:
            more = [f"and {len(without) - _MAX_LISTED} more, see the ledger"] * (len(without) > _MAX_LISTED)
            lines = [f"videos without a crop: {len(without)}", *without[:_MAX_LISTED], *more]
            parts.append(_text(lines, width, _STRIP))
    return np.concatenate(parts)


@dataclass(frozen=True)
class _Track:
    """A face track: how many crops it has, and the rows that are drawn."""

    number: int
    n_crops: int
    n_lost: int
    chosen: np.ndarray

    @property
    def colour(self) -> tuple[int, int, int]:
        return _TRACK_COLOURS[self.number % len(_TRACK_COLOURS)]


@dataclass(frozen=True)
class _Plan:
    """What is drawn of a video."""

    n_tracks: int
    n_crops: int
    tracks: list[_Track]


def _plan(crops: CropReader, rows: np.ndarray, limits: Limits) -> _Plan:
    numbers = np.unique(crops.track_id[rows])
    tracks = []
    for number in numbers[_evenly(len(numbers), limits.tracks)]:
        of_track = rows[crops.track_id[rows] == number]
        n_lost = int((crops.status[of_track] != OK).sum())
        chosen = of_track[_evenly(len(of_track), limits.columns)]
        tracks.append(_Track(int(number), len(of_track), n_lost, chosen))
    return _Plan(len(numbers), len(rows), tracks)


class _Findings:
    """Landmarks and masks of the rows that are drawn, where their stages have run.

    Attributes:
        missing: Stages whose file is absent.
    """

    def __init__(self, files: ShardFiles, crops: CropReader, rows: list[int]):
        self._crops = crops
        self.missing = [stage for stage in ("landmarks", "masks") if not getattr(files, stage).exists()]
        self._landmarks = {} if "landmarks" in self.missing else _landmarks_of(files, len(crops), set(rows))
        self._masks = None if "masks" in self.missing else MaskReader(files.masks)
        if self._masks is not None:
            _check_rows(files, "masks", len(self._masks), len(crops))

    def __enter__(self) -> _Findings:
        return self

    def __exit__(self, *_: object) -> None:
        if self._masks is not None:
            self._masks.close()

    def mask_sources(self, rows: np.ndarray) -> set[str]:
        """Where the masks of rows come from."""
        return set() if self._masks is None else set(self._masks.source[rows])

    def cell(self, row: int, colour: tuple[int, int, int], cell_px: int) -> np.ndarray:
        """A crop with what was found in it, or why it was lost."""
        crops, place = self._crops, f"#{self._crops.frame_index[row]}  {self._crops.pts_seconds[row]:.2f} s"
        image = crops.image(row)
        if image is None:
            letters = max(8, cell_px // 8)
            lines = [f"lost: {crops.status[row]}", *textwrap.wrap(crops.message[row], letters)]
            cell = Image.new("RGB", (cell_px, cell_px), _BACKGROUND)
            draw = ImageDraw.Draw(cell)
            draw.rectangle((0, 0, cell_px - 1, cell_px - 1), outline=colour)
            draw.multiline_text((5, 4), "\n".join(lines[: cell_px // _LINE_PX - 1]), _TEXT, _FONT)
        else:
            place += f"  {image.shape[1]}×{image.shape[0]}"
            hull = manipulation = None
            if self._masks is not None:
                hull, manipulation = self._masks.hull(row), self._masks.manipulation(row)
            landmarks = self._landmarks.get(row)
            if landmarks is not None:
                (scale_x, _, shift_x), (_, scale_y, shift_y) = crops.crop_to_frame[row]
                landmarks = (landmarks.reshape(-1, 2) - (shift_x, shift_y)) / (scale_x, scale_y)
            box = boxes_in_crops(crops.box[row : row + 1], crops.crop_to_frame[row : row + 1])[0]
            cell = Image.fromarray(draw_crop(image, box, landmarks, hull, manipulation, colour, cell_px))
            draw = ImageDraw.Draw(cell)
        draw.text((3, cell_px - 16), place, (255, 255, 255), _FONT, stroke_width=2, stroke_fill=(0, 0, 0))
        return np.asarray(cell)


def _landmarks_of(files: ShardFiles, n_crops: int, rows: set[int]) -> dict[int, np.ndarray]:
    """(162,) landmarks in frame pixels of some rows; the table goes by in batches, it may hold gigabytes."""
    _check_rows(files, "landmarks", read_table(files.landmarks, ["crop_row"]).num_rows, n_crops)
    found, begin = {}, 0
    for batch in pq.ParquetFile(files.landmarks).iter_batches(columns=["landmarks"]):
        for row in rows.intersection(range(begin, begin + len(batch))):
            points = batch["landmarks"][row - begin].as_py()
            if points is not None:
                found[row] = np.array(points)
        begin += len(batch)
    return found


def _check_rows(files: ShardFiles, stage: str, n_rows: int, n_crops: int) -> None:
    if n_rows != n_crops:
        raise UserError(
            f"{getattr(files, stage)} has {n_rows} rows and {files.crops} has {n_crops}: they come from different "
            f"runs. Delete the {stage} file and run the workflow again"
        )


def _lost_frames(files: ShardFiles, videos: set[str]) -> defaultdict[str, Counter]:
    """Video → what was lost → how often: frames without a face by status, and boxes that were dropped."""
    lost: defaultdict[str, Counter] = defaultdict(Counter)
    if files.faces.exists():
        for row in read_table(files.faces, ["video_id", "status", "message"]).to_pylist():
            if row["video_id"] in videos and row["status"] not in (OK, UNUSED):
                # a row `no_face` with a message stands for a dropped box, and others may be kept in its frame
                is_box = row["status"] == NO_FACE and row["message"]
                lost[row["video_id"]]["boxes dropped" if is_box else f"frames {row['status']}"] += 1
    return lost


def _videos_without_crops(files: ShardFiles, with_crops: set[str], only: str) -> list[str]:
    """`id: reason` of the videos of the shard's list that have no crop."""
    if not files.index.exists():
        return []
    videos = read_table(files.index, ["video_id", "status", "message"]).to_pylist()
    missing = {row["video_id"]: row for row in videos if row["video_id"] not in with_crops and only in row["video_id"]}
    lost = _lost_frames(files, set(missing))
    lines = []
    for name, row in sorted(missing.items()):
        frames = ", ".join(f"{count} {what}" for what, count in sorted(lost[name].items()))
        index = "" if row["status"] == OK else f"{row['status']}: {row['message']}"
        lines.append(f"{name}   {index or frames or 'no face'}")
    return lines


def _evenly(count: int, wanted: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(int)) if count else np.zeros(0, int)


def _header(files: ShardFiles, crops: CropReader, what: str, missing: list[str], width: int) -> list[np.ndarray]:
    """What the picture shows of what there is, and what its colours mean."""
    n_lost = int((crops.status != OK).sum())
    title = f"{crops.attrs['dataset']}, shard {crops.attrs['shard']}: {len(crops)} crops"
    title += f" ({n_lost} lost)" * bool(n_lost) + f"; {what}"
    lines = [title] + [f"no {stage} yet: {getattr(files, stage)} is absent" for stage in missing]
    legend = Image.new("RGB", (width, _LINE_PX + 8), _BACKGROUND)
    draw = ImageDraw.Draw(legend)
    for number, colour in enumerate(_TRACK_COLOURS[:3]):
        draw.rectangle((6 + 16 * number, 6, 17 + 16 * number, 17), outline=colour, width=2)
    x = 60
    x = _legend_text(draw, x, "face box, in the colour of its track")
    for step in range(3):
        draw.ellipse((x + 6 * step, 10, x + 2 + 6 * step, 12), fill=_LANDMARK_COLOUR)
    x = _legend_text(draw, x + 24, "landmarks")
    draw.ellipse((x, 6, x + 13, 18), outline=_HULL_COLOUR)
    x = _legend_text(draw, x + 20, "hull mask")
    draw.ellipse((x, 6, x + 13, 18), fill=tuple(int(value * 0.6) for value in _MASK_COLOUR))
    x = _legend_text(draw, x + 20, "manipulation mask")
    _legend_text(draw, x, "#frame  time  width×height of the crop in px")
    return [_text(lines, width, _BACKGROUND), np.asarray(legend)]


def _legend_text(draw: ImageDraw.ImageDraw, x: int, text: str) -> int:
    """Write a text of the legend; returns where the next may begin."""
    draw.text((x, 4), text, _FAINT, _FONT)
    return x + round(draw.textlength(text, _FONT)) + 22


def _video_strip(video: str, plan: _Plan, lost: Counter, width: int) -> np.ndarray:
    parts = [video, f"{plan.n_crops} crops"]
    if len(plan.tracks) < plan.n_tracks:
        parts.append(f"{len(plan.tracks)} of {plan.n_tracks} tracks drawn")
    parts += [f"{count} {what}" for what, count in sorted(lost.items())]
    return _text(["   ".join(parts)], width, _STRIP)


def _track_label(track: _Track, mask_sources: list[str], height: int) -> np.ndarray:
    label = Image.new("RGB", (_LABEL_PX, height), _BACKGROUND)
    draw = ImageDraw.Draw(label)
    draw.rectangle((0, 0, 5, height - 3), fill=track.colour)
    lines = [f"track {track.number}", f"{len(track.chosen)} of {track.n_crops} crops"]
    lines += [f"{track.n_lost} lost"] * bool(track.n_lost) + [f"mask: {source}" for source in mask_sources]
    for number, line in enumerate(lines):
        draw.text((12, 3 + number * _LINE_PX), line, _FAINT if number else _TEXT, _FONT)
    return np.asarray(label)


def _text(lines: list[str], width: int, background: tuple[int, int, int]) -> np.ndarray:
    """A strip of lines; what is too long loses its middle."""
    strip = Image.new("RGB", (width, len(lines) * _LINE_PX + 6), background)
    draw = ImageDraw.Draw(strip)
    for number, line in enumerate(lines):
        shown = line = "".join(letter if letter.isprintable() else "\ufffd" for letter in line)
        kept = len(line)
        while draw.textlength(shown, _FONT) > width - 12 and kept > 8:
            kept = int(kept * 0.95) - 1
            shown = f"{line[: kept // 2]} … {line[-kept // 2 :]}"
        draw.text((6, 4 + number * _LINE_PX), shown, _TEXT, _FONT)
    return np.asarray(strip)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="name of the data set")
    parser.add_argument("shard", nargs="?", default="0000", help="name of the shard (default: 0000)")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the store (default: data)")
    parser.add_argument("--output", type=Path, default=Path("preview.png"), help="picture to write")
    parser.add_argument("--only", default="", help="draw only videos whose id holds this text")
    parser.add_argument("--videos", type=int, default=Limits.videos, help="videos to draw (default: %(default)s)")
    parser.add_argument("--tracks", type=int, default=Limits.tracks, help="tracks a video (default: %(default)s)")
    parser.add_argument("--columns", type=int, default=Limits.columns, help="crops a track (default: %(default)s)")
    parser.add_argument(
        "--cell-px", type=int, default=Limits.cell_px, help="side of a crop in the picture (default: %(default)s)"
    )
    args = parser.parse_args()
    for name, least in (("videos", 1), ("tracks", 1), ("columns", 1), ("cell_px", 32)):
        if getattr(args, name) < least:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(args, name)}; the smallest is {least}")
    files = ShardFiles.of(args.data, args.dataset, args.shard)
    picture = draw_shard(files, Limits(args.videos, args.tracks, args.columns, args.cell_px), only=args.only)
    with atomic_path(args.output) as temporary:
        Image.fromarray(picture).save(temporary, format="png")
    print(args.output)


if __name__ == "__main__":
    run_command(main)
