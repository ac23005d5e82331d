"""Pictures and videos with the face tracks of a file drawn into them, each in the colour of its verdict."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import cv2
import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image, ImageDraw, ImageFont

from detectors.figures.style import FAKE_COLOUR, GREY, REAL_COLOUR
from detectors.measures.aggregation import BOX_COLUMNS
from detectors.scoring.loose_files import FileFaces
from detectors.scoring.scores import FAKE, REAL, Scores
from preprocess.running.cli import progress
from preprocess.running.workers import map_videos
from preprocess.store.atomic import atomic_path
from preprocess.video.decode import read_frames, read_image
from preprocess.video.outcomes import UNDECODED
from preprocess.video.probe import ProbeError, frame_times

log = logging.getLogger("detectors")

COLOURS = {REAL: REAL_COLOUR, FAKE: FAKE_COLOUR, "": GREY}

# Of the shorter side of the picture.
_LETTER_SHARE, _LINE_SHARE = 1 / 44, 1 / 240
_SMALLEST_LETTER_PX = 11
# FFmpeg's usual clock: all common frame rates are whole numbers of its ticks.
_TICKS_PER_SECOND = 90_000
# x264's quality; 18 is taken for visually lossless.
_CRF = "20"


@dataclass(frozen=True)
class DrawnTrack:
    """A face track and what is written at its box.

    Attributes:
        frame_index: (n,) sampled frames in which the face was seen, ascending.
        boxes: (n, 4) x0, y0, x1, y1 in frame pixels.
        verdict: `real`, `fake`, or empty where there is no threshold.
        score: Of the track.
    """

    frame_index: np.ndarray
    boxes: np.ndarray
    verdict: str
    score: float

    def box_at(self, frame_index: int) -> np.ndarray | None:
        """(4,) box in a frame, on a straight line between the sampled frames beside it; None outside the track."""
        if not self.frame_index[0] <= frame_index <= self.frame_index[-1]:
            return None
        return np.array([np.interp(frame_index, self.frame_index, side) for side in self.boxes.T])

    @property
    def text(self) -> str:
        return f"{self.verdict} {self.score:.2f}".strip()


def draw_tracks(image: np.ndarray, frame_index: int, tracks: Sequence[DrawnTrack]) -> np.ndarray:
    """Draw the boxes that tracks have in a frame, and what is said of them.

    Args:
        image: RGB uint8 `(height, width, 3)`; drawn into.
        frame_index: Of the frame.
        tracks: Face tracks of the file.
    """
    shorter = min(image.shape[:2])
    line_px = max(2, round(shorter * _LINE_SHARE))
    for track in tracks:
        box = track.box_at(frame_index)
        if box is None:
            continue
        colour = tuple(round(255 * value) for value in to_rgb(COLOURS[track.verdict]))
        x0, y0, x1, y1 = (round(float(value)) for value in box)
        cv2.rectangle(image, (x0, y0), (x1 - 1, y1 - 1), colour, line_px)
        label = _label(track.text, colour, max(_SMALLEST_LETTER_PX, round(shorter * _LETTER_SHARE)))
        _paste(image, label, x0 - line_px // 2, y0 - label.shape[0])
    return image


def write_annotated_image(source: Path, tracks: Sequence[DrawnTrack], output: Path) -> None:
    """Write an image with its faces as PNG.

    Raises:
        ProbeError: The source cannot be read.
        UserError: The output cannot be written.
    """
    picture = draw_tracks(read_image(source), 0, tracks)
    with atomic_path(output) as temporary:
        Image.fromarray(picture).save(temporary, format="png")


def write_annotated_video(source: Path, tracks: Sequence[DrawnTrack], output: Path) -> None:
    """Write a video, without its sound, as H.264 in mp4 with the faces in every frame that decodes.

    Frames keep their times. Between sampled frames a box moves on a straight line.

    Raises:
        ProbeError: The source cannot be read.
        UserError: The output cannot be written.
    """
    times = frame_times(source)
    with atomic_path(output) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = None
        last_pts = -1
        for index, frame in read_frames(source, range(len(times))):
            picture = _with_even_sides(draw_tracks(frame, index, tracks))
            if stream is None:
                stream = container.add_stream("libx264", options={"crf": _CRF, "preset": "veryfast"})
                stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
                stream.codec_context.time_base = Fraction(1, _TICKS_PER_SECOND)
            encoded = av.VideoFrame.from_ndarray(picture)
            last_pts = max(last_pts + 1, round((times[index] - times[0]) * _TICKS_PER_SECOND))
            encoded.pts, encoded.time_base = last_pts, stream.codec_context.time_base
            container.mux(stream.encode(encoded))
        if stream is None:
            raise ProbeError(UNDECODED, "no frame decodes")
        container.mux(stream.encode())


def _with_even_sides(image: np.ndarray) -> np.ndarray:
    """4:2:0 needs even sides: the last row or column twice."""
    height, width = image.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return image
    return cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)


@cache
def _label(text: str, colour: tuple[int, int, int], letter_px: int) -> np.ndarray:
    """Text on a filled background, RGB uint8."""
    # matplotlib brings the font
    font = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", letter_px)
    pad = max(2, letter_px // 4)
    left, top, right, bottom = (int(side) for side in font.getbbox(text))
    label = Image.new("RGB", (right - left + 2 * pad, bottom - top + 2 * pad), colour)
    # black or white, whichever is farther from the background's luma (Rec. 601)
    luma = np.dot(colour, (0.299, 0.587, 0.114))
    ImageDraw.Draw(label).text((pad - left, pad - top), text, (0, 0, 0) if luma > 110 else (255, 255, 255), font)
    return np.asarray(label)


def _paste(image: np.ndarray, patch: np.ndarray, x: int, y: int) -> None:
    """Paste a patch, moved into the picture as far as it would lie outside, and cut off where it is larger."""
    height, width = image.shape[:2]
    patch = patch[:height, :width]
    y = int(np.clip(y, 0, height - patch.shape[0]))
    x = int(np.clip(x, 0, width - patch.shape[1]))
    image[y : y + patch.shape[0], x : x + patch.shape[1]] = patch


def annotate_files(folder: Path, scores: Scores, found: FileFaces, *, workers: int, video_seconds: float) -> list[Path]:
    """Write every file that has a face with its tracks drawn: images as PNG, videos as mp4.

    Args:
        folder: Where to write; files of one name get a number behind it.
        scores: Of the files.
        found: The same files' faces.
        workers: Files worked on side by side.
        video_seconds: Time that a file may take.

    Returns:
        What was written; a file that cannot be is told in the log.
    """
    items, taken = [], set()
    for path, video in zip(found.files, found.videos, strict=True):
        of_file = scores.tracks[scores.tracks["path"] == str(path)]
        if of_file.empty:
            continue
        name, number = path.stem, 2
        suffix = ".png" if video["kind"] == "image" else ".mp4"
        while f"{name}{suffix}" in taken:
            name, number = f"{path.stem}-{number}", number + 1
        taken.add(f"{name}{suffix}")
        by_track = dict(list(scores.faces[scores.faces["path"] == str(path)].groupby("track_id")))
        tracks = [
            DrawnTrack(
                by_track[row["track_id"]]["frame_index"].to_numpy(),
                by_track[row["track_id"]][BOX_COLUMNS].to_numpy(np.float64),
                row["verdict"],
                row["score"],
            )
            for row in of_file.to_dict("records")
        ]
        items.append((video["kind"], Path(video["path"]), tracks, folder / f"{name}{suffix}"))
    results = map_videos(
        _write_annotated, items, workers=workers, video_seconds=video_seconds, preload=("detectors.scoring.annotate",)
    )
    results = progress(results, total=len(items), description="annotate", unit="file")
    written = []
    for (_, source, _, _), outputs in zip(items, results, strict=True):
        try:
            written += list(outputs)
        except ProbeError as error:
            log.warning("%s cannot be annotated: %s", source, error.message)
    return written


def _write_annotated(item: tuple[str, Path, list[DrawnTrack], Path]) -> Iterator[Path]:
    """Runs in a worker."""
    kind, source, tracks, output = item
    write = write_annotated_image if kind == "image" else write_annotated_video
    write(source, tracks, output)
    yield output
