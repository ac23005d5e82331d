"""Train an 81-point predictor for rendered faces with dlib: `python -m preprocess.train_predictor --help`.

The synthetic collections need a predictor that every user may have: the published 81-point predictor is for research
only and cannot be shipped. This one learns from portraits whose landmarks are known, in less than a minute, and is
written in dlib's own format. It is meant for rendered faces alone; give the published file for real ones.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import dlib
import numpy as np
from pydantic import Field

from preprocess.face.shape_predictor import grey_values
from preprocess.landmarks import landmark_rect
from preprocess.running.cli import progress, run_command
from preprocess.running.parallel import ordered_map
from preprocess.running.settings import Settings, load_settings, settings_json
from preprocess.store.atomic import atomic_path
from preprocess.synthetic import render_portrait
from preprocess.synthetic.identity import sample_identity

log = logging.getLogger("preprocess")

# MTCNN's boxes against the true ones on rendered portraits: mean and standard deviation of log(width) and log(height),
# and standard deviation of the centre's shift as a fraction of width and height.
_LOG_WIDTH = (0.04, 0.05)
_LOG_HEIGHT = (0.0, 0.05)
_SHIFT = (0.035, 0.03)
# dlib adds up in another order for another number of threads, which changes the trees: always the same number, on any
# machine, keeps the bytes the same.
_DLIB_THREADS = 4


class PredictorSettings(Settings):
    """How many portraits, and the size of the ensemble (names as in Kazemi and Sullivan 2014)."""

    seed: int = Field(0, description="Another seed gives other portraits and other trees.")
    n_portraits: int = Field(500, ge=2, description="Rendered portraits to learn from; more are slower and better.")
    portraits_per_person: int = Field(
        5, ge=1, description="Portraits of the same person; a new person takes longer to paint than to render again."
    )
    boxes_per_portrait: int = Field(
        2, ge=1, description="Face boxes tried on each portrait, as a detector's would differ."
    )
    min_side_px: int = Field(180, ge=120, description="Side of the smallest portrait; the face takes about half of it.")
    max_side_px: int = Field(360, ge=120, description="Side of the largest portrait.")
    cascade_depth: int = Field(8, ge=1, description="Levels of the cascade.")
    trees_per_level: int = Field(80, ge=1, description="Trees of a level.")
    tree_depth: int = Field(3, ge=1, description="Splits from the root to a leaf.")
    shrinkage: float = Field(
        0.25, ge=0.001, le=1, description="Share of its correction that a tree makes (dlib's nu), up to 1."
    )
    oversampling: int = Field(8, ge=1, description="Starting shapes tried for each face box.")
    split_candidates: int = Field(20, ge=1, description="Random pixel pairs that a split chooses from.")
    pool_size: int = Field(400, ge=2, description="Pixels that the trees of a level may compare.")


def train_predictor(settings: PredictorSettings, *, threads: int) -> dlib.shape_predictor:
    """Render portraits and train a predictor on them.

    Args:
        settings: Portraits and ensemble. The same settings give the same trees, on any number of threads.
        threads: Threads that render; dlib trains with its own, always the same number.

    Returns:
        dlib's predictor of 81 points; its `save` writes the file that `preprocess.landmarks` reads.
    """
    begin = time.monotonic()
    portraits = ordered_map(lambda index: _portrait(settings, index), range(settings.n_portraits), threads)
    shown = progress(portraits, total=settings.n_portraits, description="render portraits", unit="portrait")
    images, faces = zip(*shown, strict=True)
    log.info("%d portraits rendered in %.0f s", len(images), time.monotonic() - begin)

    begin = time.monotonic()
    options = dlib.shape_predictor_training_options()
    options.random_seed = str(settings.seed)
    options.num_threads = _DLIB_THREADS
    options.cascade_depth = settings.cascade_depth
    options.num_trees_per_cascade_level = settings.trees_per_level
    options.tree_depth = settings.tree_depth
    options.nu = settings.shrinkage
    options.oversampling_amount = settings.oversampling
    options.num_test_splits = settings.split_candidates
    options.feature_pool_size = settings.pool_size
    predictor = dlib.train_shape_predictor(list(images), list(faces), options)
    log.info("trees grown in %.0f s", time.monotonic() - begin)
    return predictor


def _portrait(settings: PredictorSettings, index: int) -> tuple[np.ndarray, list[dlib.full_object_detection]]:
    """Portrait number `index`: grey image, and its face once for each box."""
    rng = np.random.default_rng((settings.seed, index))
    person = index // settings.portraits_per_person
    identity = sample_identity(np.random.default_rng((settings.seed, settings.n_portraits + person)))
    side = int(rng.integers(settings.min_side_px, max(settings.min_side_px, settings.max_side_px) + 1))
    image, truth = render_portrait(rng, side, side, identity)
    parts = [dlib.point(int(x), int(y)) for x, y in np.floor(truth.landmarks + 0.5)]
    faces = []
    for _ in range(settings.boxes_per_portrait):
        x0, y0, x1, y1 = landmark_rect(_detector_box(rng, truth.box)).tolist()
        faces.append(dlib.full_object_detection(dlib.rectangle(x0, y0, x1 - 1, y1 - 1), parts))
    return grey_values(image), faces


def _detector_box(rng: np.random.Generator, box: np.ndarray) -> np.ndarray:
    """A box such as MTCNN finds for a face whose true box is (4,) x0, y0, x1, y1."""
    size = box[2:] - box[:2]
    centre = (box[:2] + box[2:]) / 2 + size * rng.normal(0, _SHIFT)
    found = size * np.exp([rng.normal(*_LOG_WIDTH), rng.normal(*_LOG_HEIGHT)])
    return np.concatenate([centre - found / 2, centre + found / 2])


def main() -> None:
    """Command line of the stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=Path, help="predictor to write, dlib's .dat format")
    parser.add_argument("--settings", default="{}", help=f"JSON; defaults: {settings_json(PredictorSettings())}")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    predictor = train_predictor(load_settings(PredictorSettings, args.settings), threads=args.threads)
    with atomic_path(args.output) as temporary:
        predictor.save(str(temporary))


if __name__ == "__main__":
    run_command(main)
