"""Score your own videos and images with a trained detector.

    python -m detectors.score ucf_multi interview.mp4 photos/ --annotate annotated --csv scores.csv

Faces are found and tracked with the pipeline's code and settings, cut as the detector cuts them, and put together as in
the evaluation of that checkpoint, with its threshold. A row for every file and every face track; a file that cannot be
scored keeps its row, which says why. docs/score.md has more.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from detectors.data.loader import default_workers
from detectors.data.samples import Samples
from detectors.evaluation.settings import VALIDATION, EvaluateSettings
from detectors.families.registry import load_detector
from detectors.interface.predictions import predict_samples
from detectors.measures.aggregation import AGGREGATIONS
from detectors.measures.runs import DETECTOR
from detectors.scoring.annotate import annotate_files
from detectors.scoring.config import experiment_block, read_configs, stage_settings
from detectors.scoring.loose_files import FileFaces, StageSettings, find_faces, list_files
from detectors.scoring.output import format_scores, write_scores_csv, write_scores_json
from detectors.scoring.scores import Scores, combine_scores
from detectors.scoring.trained import Decision, Trained, find_seeds, resolve_decision
from preprocess.crops import CropsSettings
from preprocess.faces import FacesSettings
from preprocess.frames import FramesSettings
from preprocess.running.cli import UserError, add_worker_arguments, run_command
from preprocess.running.device import pick_device
from preprocess.running.settings import load_settings, settings_json


def score_faces(
    trained: Sequence[Trained], found: FileFaces, decision: Decision, *, device: str = "cpu", threads: int = 1
) -> Scores:
    """Score the faces that were found in files.

    Args:
        trained: Detectors; of several the mean score of each face counts.
        found: What `loose_files.find_faces` found, its samples in a store with the crops.
        decision: What makes the scores of files and tracks of those of their faces, and verdicts of these.
        device: `cpu` or `cuda:<number>`.
        threads: CPU cores that may be used to feed a GPU.
    """
    samples = Samples.read([found.samples])
    workers = default_workers(threads, device)
    scores = np.zeros(len(samples), np.float64)
    for one in trained:
        torch.set_num_threads(one.detector.settings.cpu_threads)
        of_one = predict_samples(one.detector, samples, found.store, batch_size=64, workers=workers, device=device)
        scores += of_one / len(trained)
    return combine_scores(found, scores, decision)


def json_object(text: str) -> dict:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is not a JSON object such as {{}}")
    return value


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m detectors.score", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("detector", help="an experiment, an ensemble of them, or a checkpoint (detector.ckpt)")
    parser.add_argument("files", nargs="+", type=Path, help="videos, images, and folders of them at any depth")

    which = parser.add_argument_group("which detector")
    which.add_argument("--results", type=Path, default=Path("results"), help="folder of experiments (default: results)")
    which.add_argument("--seed", type=int, help="of the experiment (default: the smallest that was trained)")
    which.add_argument("--all-seeds", action="store_true", help="the mean score of all seeds of the experiment")
    which.add_argument("--aggregation", choices=(DETECTOR, *AGGREGATIONS), help="instead of the evaluation's")
    which.add_argument("--threshold", type=float, help="video score from which a face is fake, instead of its own")

    faces = parser.add_argument_group(
        "how faces are found", "With an experiment as its config says; with a checkpoint, and no --config, by default."
    )
    faces.add_argument(
        "--config",
        type=Path,
        action="append",
        metavar="FILE",
        help="config of the experiment (default: config.yaml); repeat it for what comes on top, such as a study",
    )
    faces.add_argument("--like", metavar="DATASET", help="with the settings of this data set of the config")
    faces.add_argument("--n-frames", type=int, help="frames to take of a video")
    for stage, cls in (("frames", FramesSettings), ("faces", FacesSettings), ("crops", CropsSettings)):
        defaults = settings_json(cls()).replace("%", "%%")
        faces.add_argument(f"--{stage}", type=json_object, default={}, metavar="JSON", help=f"changes to: {defaults}")

    output = parser.add_argument_group("what is written")
    output.add_argument("--json", type=Path, metavar="FILE", help="everything, down to single faces")
    output.add_argument("--csv", type=Path, metavar="FILE", help="a row for each file and each of its face tracks")
    output.add_argument(
        "--annotate", type=Path, metavar="FOLDER", help="pictures and videos with the faces, blue real and orange fake"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<number>")
    add_worker_arguments(parser)
    return parser.parse_args()


def main() -> None:
    """Command line."""
    args = _arguments()
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        raise UserError(f"--threshold: found {args.threshold:g}; allowed: 0 to 1")
    config, block = _read_config(args)
    members = block.get("ensemble", ())
    seeds = find_seeds(args.detector, args.results, args.seed, all_seeds=args.all_seeds, members=members)
    settings = stage_settings(config, args.like, _changes(args))
    evaluation = load_settings(EvaluateSettings, config.get("evaluate", {}) | block.get("evaluate", {}))
    device = pick_device(args.device)
    trained = [Trained(path, *load_detector(path)) for of_seed in seeds for path in of_seed.checkpoints]
    threshold = evaluation.threshold if args.threshold is None else args.threshold
    decision = resolve_decision(
        seeds,
        trained,
        aggregation=args.aggregation or evaluation.aggregation,
        threshold=None if threshold == VALIDATION else float(threshold),
    )

    with tempfile.TemporaryDirectory(prefix="score-") as folder:
        reading = {"workers": args.workers, "video_seconds": args.video_seconds}
        found = find_faces(list_files(args.files), Path(folder), settings, device=device, **reading)
        scores = score_faces(trained, found, decision, device=device, threads=args.workers)
    print(format_scores(scores))
    print(f"\n{_describe(scores, trained)}")
    if args.csv:
        write_scores_csv(args.csv, scores)
    if args.json:
        write_scores_json(args.json, scores, _made_by(trained, settings))
    if args.annotate:
        for path in annotate_files(args.annotate, scores, found, **reading):
            print(f"annotated  {path}")
    if scores.files["score"].isna().all():
        raise UserError(f"none of the {len(scores.files)} files could be scored; the table says why")


def _read_config(args: argparse.Namespace) -> tuple[dict, dict]:
    """The config, empty for a checkpoint that comes without one, and its block of the experiment, empty for one."""
    is_checkpoint = Path(args.detector).is_file() or Path(args.detector).suffix == ".ckpt"
    if is_checkpoint and not (args.config or args.like):
        return {}, {}
    paths = args.config or [Path("config.yaml")]
    config = read_configs(paths)
    return config, {} if is_checkpoint else experiment_block(args.detector, config, paths)


def _changes(args: argparse.Namespace) -> dict[str, dict]:
    """The settings of stages that the command line gives."""
    n_frames = {} if args.n_frames is None else {"n_frames": args.n_frames}
    return {"frames": args.frames | n_frames, "faces": args.faces, "crops": args.crops}


def _describe(scores: Scores, trained: Sequence[Trained]) -> str:
    """What made the scores, in a line or two."""
    names = ", ".join(f"{one.facts['experiment']} (seed {one.facts['seed']})" for one in trained)
    n_scored = int(scores.files["score"].notna().sum())
    told = f"{n_scored} of {len(scores.files)} files scored by {names}; aggregation {scores.aggregation}"
    if math.isnan(scores.threshold):
        return f"{told}\nno verdicts: there is no threshold from validation data of both classes; --threshold gives one"
    return f"{told}; fake from {scores.threshold:.4g} on"


def _made_by(trained: Sequence[Trained], settings: StageSettings) -> dict:
    return {
        "detectors": [
            {
                "checkpoint": str(one.path),
                **{key: one.facts[key] for key in ("experiment", "seed", "detector", "train")},
            }
            for one in trained
        ],
        "settings": {stage: dict(of) for stage, of in vars(settings).items()},
    }


if __name__ == "__main__":
    run_command(main)
