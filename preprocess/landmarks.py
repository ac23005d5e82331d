"""Find the 81 landmarks of every face crop: `python -m preprocess.landmarks --help`.

The points are those of dlib's 81-point predictor (68 points of the iBUG scheme and 13 along the forehead), evaluated
over batches of crops (`preprocess.face.shape_predictor`). dlib's predictors expect the square that dlib's own face
detector draws; `landmark_rect` makes it from the box that MTCNN draws.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from preprocess.face.shape_predictor import ShapePredictor, grey_values
from preprocess.running.cli import UserError, progress, run_command
from preprocess.running.device import pick_device
from preprocess.running.parallel import ordered_map
from preprocess.running.settings import load_settings, settings_json
from preprocess.settings.landmarks import LandmarksSettings
from preprocess.store import versions
from preprocess.store.crop_file import CropReader, boxes_in_crops
from preprocess.store.origin import Origin
from preprocess.store.schemas import LANDMARKS, N_LANDMARKS
from preprocess.store.stages import NO_PREDICTOR
from preprocess.store.tables import write_table
from preprocess.video.outcomes import NO_LANDMARKS, OK

PUBLISHED_PREDICTOR = (
    "the published one is shape_predictor_81_face_landmarks.dat by codeniko (research use only; 19,743,860 bytes, "
    "sha256 8cae4375589dd915d9a0a881101bed1bbb4e9887e35e63b024388f1ca25ff869)"
)

# dlib's square for an MTCNN box of width w and height h: side 0.98 sqrt(w h), centre 0.055 h lower. Medians over 209
# real faces (11 photographs and 8 frames of each of 16 videos, every file weighted by the root of its faces) that
# both facenet_pytorch.MTCNN and dlib.get_frontal_face_detector() found. Residuals: side 10 % (standard deviation; the
# steps of dlib's image pyramid, 20 % apart, account for half of it), centre 6 % of the side (median); IoU with dlib's
# square 0.81 (median), against 0.75 for the box as it is.
RECT_SIDE = 0.98
RECT_SHIFT_DOWN = 0.055

# Grey pixels of a batch, padding included: a batch of close-ups holds fewer crops, so that memory stays bounded.
_BATCH_PIXELS = 1 << 26


def landmark_rect(boxes: np.ndarray) -> np.ndarray:
    """The squares in which dlib's detector would have found the faces of MTCNN's boxes.

    Args:
        boxes: (..., 4) x0, y0, x1, y1 in pixels, as MTCNN gives them.

    Returns:
        (..., 4) int64 x0, y0, x1, y1 in pixels, x1 and y1 exclusive; may reach outside the image.
    """
    boxes = np.asarray(boxes, np.float64)
    size = boxes[..., 2:] - boxes[..., :2]
    side = RECT_SIDE * np.sqrt(size.prod(axis=-1))
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    centre[..., 1] += RECT_SHIFT_DOWN * size[..., 1]
    corner = np.floor(centre - side[..., None] / 2 + 0.5)
    return np.concatenate([corner, corner + np.floor(side + 0.5)[..., None]], axis=-1).astype(np.int64)


def load_predictor(path: str | Path, device: str) -> ShapePredictor:
    """Read the 81-point predictor of `landmarks.predictor`.

    Raises:
        UserError: The file is absent, is no predictor of dlib, or has another number of points.
    """
    if not Path(path).is_file():
        raise UserError(
            f"landmarks.predictor: {path} is absent. Put an 81-point dlib predictor there; {PUBLISHED_PREDICTOR}. "
            "For the synthetic collections, run train_predictor"
        )
    predictor = ShapePredictor.load(path, device)
    if predictor.n_points != N_LANDMARKS:
        raise UserError(
            f"landmarks.predictor: {path} places {predictor.n_points} points, {N_LANDMARKS} are needed (the forehead "
            f"is part of the masks). Give an 81-point predictor; {PUBLISHED_PREDICTOR}"
        )
    return predictor


def detect_landmarks(
    crops: CropReader, predictor: ShapePredictor | None, settings: LandmarksSettings, *, threads: int
) -> list[dict]:
    """Find the landmarks of every crop of a shard.

    Args:
        crops: The shard's crops.
        predictor: An 81-point predictor, on the device that is to evaluate it; None leaves the landmarks out: every
            row that is `ok` in the crops then has the status `no_landmarks`.
        settings: Batch size.
        threads: Batches evaluated side by side; the points do not depend on it.

    Returns:
        Rows of `schemas.LANDMARKS`, one for each crop in the same order, points in frame pixels; a crop that was lost
        has a row without points and with the crop's status and message.
    """
    # many small operations: batches side by side, one thread each, beat many threads in one batch
    torch.set_num_threads(1)
    batches: list[np.ndarray] = []
    evaluated: Iterable[dict[int, np.ndarray]] = []
    if predictor is not None:
        batches = _batches_of_similar_size(crops, settings.batch_size)
        evaluated = ordered_map(partial(_points_in_frame, crops, predictor=predictor), batches, threads)
    landmarks: dict[int, np.ndarray] = {}
    for points in progress(evaluated, total=len(batches), description="detect landmarks", unit="batch"):
        landmarks.update(points)
    outcome = {OK: (NO_LANDMARKS, f"landmarks.predictor is {NO_PREDICTOR!r}")} if predictor is None else {}
    rows = []
    for row in range(len(crops)):
        status, message = outcome.get(crops.status[row], (crops.status[row], crops.message[row]))
        rows.append(
            {
                "video_id": crops.video_id[row],
                "frame_index": int(crops.frame_index[row]),
                "track_id": int(crops.track_id[row]),
                "crop_row": row,
                "landmarks": landmarks.get(row),
                "status": status,
                "message": message,
            }
        )
    return rows


def _batches_of_similar_size(crops: CropReader, batch_size: int) -> list[np.ndarray]:
    """Rows of the crops that were not lost, in batches that need little padding."""
    kept = np.flatnonzero(crops.status == OK)
    kept = kept[np.lexsort(crops.size[kept].T)]
    batches, begin = [], 0
    while begin < len(kept):
        sizes = np.maximum.accumulate(crops.size[kept[begin : begin + batch_size]].astype(np.int64))
        pixels = np.arange(1, len(sizes) + 1) * sizes.prod(axis=1)
        end = begin + max(1, int((pixels <= _BATCH_PIXELS).sum()))
        batches.append(np.sort(kept[begin:end]))
        begin = end
    return batches


def _points_in_frame(crops: CropReader, rows: np.ndarray, predictor: ShapePredictor) -> dict[int, np.ndarray]:
    """Row → (162,) float32 landmarks in frame pixels, for a batch of crops."""
    sizes, to_frame = crops.size[rows], crops.crop_to_frame[rows]
    images = np.zeros((len(rows), *sizes.max(axis=0)), np.uint8)
    for padded, row, (height, width) in zip(images, rows, sizes, strict=True):
        image = crops.image(row)
        assert image is not None, "batches hold rows with images"
        padded[:height, :width] = grey_values(image)
    rects = landmark_rect(boxes_in_crops(crops.box[rows], to_frame))
    points = predictor(torch.from_numpy(images), torch.from_numpy(sizes), torch.from_numpy(rects)).cpu().numpy()
    points = np.einsum("bij,bpj->bpi", to_frame[:, :, :2], points) + to_frame[:, None, :, 2]
    return dict(zip(rows.tolist(), points.reshape(len(rows), -1).astype(np.float32), strict=True))


def main() -> None:
    """Command line of the stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", required=True, type=Path, help="crops of the shard (HDF5)")
    parser.add_argument(
        "--predictor", required=True, help="81-point predictor, dlib's .dat format, or `none` to leave landmarks out"
    )
    parser.add_argument("--output", required=True, type=Path, help="Parquet file to write")
    parser.add_argument("--settings", default="{}", help=f"JSON; defaults: {settings_json(LandmarksSettings())}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<number>")
    args = parser.parse_args()
    settings = load_settings(LandmarksSettings, args.settings)
    device = pick_device(args.device)
    predictor = None if args.predictor == NO_PREDICTOR else load_predictor(args.predictor, device)
    with CropReader(args.crops) as crops:
        rows = detect_landmarks(crops, predictor, settings, threads=args.threads)
        dataset, shard = crops.attrs["dataset"], crops.attrs["shard"]
    write_table(
        args.output, rows, LANDMARKS, Origin(dataset, "landmarks", settings_json(settings), versions.LANDMARKS, shard)
    )


if __name__ == "__main__":
    run_command(main)
