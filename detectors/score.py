"""Score your own videos and images with a trained detector.

    python -m detectors.score ucf_multi interview.mp4 photos/ --annotate annotated --csv scores.csv

Faces are found and tracked with the pipeline's code and settings, cut as the detector cuts them, and put together as in
the evaluation of that checkpoint, with its threshold. A row for every file and every face track; a file that cannot be
scored keeps its row, which says why. docs/score.md has more.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from detectors.data.loader import default_workers
from detectors.data.samples import Samples
from detectors.evaluation.settings import VALIDATION, EvaluateSettings
from detectors.families.registry import load_detector
from detectors.interface.predictions import predict_samples
from detectors.measures.aggregation import AGGREGATIONS, BOX_COLUMNS, MEAN, video_scores
from detectors.measures.runs import DETECTOR
from detectors.scoring.annotate import annotate_files
from detectors.scoring.loose_files import FileFaces, StageSettings, find_faces, list_files
from detectors.scoring.scores import Scores, format_scores, verdicts, write_scores_csv, write_scores_json
from detectors.scoring.trained import Trained, choose_threshold, find_seeds, own_aggregation
from preprocess.crops import CropsSettings
from preprocess.faces import FacesSettings
from preprocess.frames import FramesSettings
from preprocess.running.cli import UserError, add_worker_arguments, run_command
from preprocess.running.config_file import read_config
from preprocess.running.device import pick_device
from preprocess.running.settings import load_settings, settings_json
from preprocess.store.tables import read_table

# where the project keeps experiments that are not in config.yaml
STUDIES = Path("config/studies")
_FACE_COLUMNS = ["video_id", "frame_index", "pts_seconds", "track_id", *BOX_COLUMNS]


def score_faces(
    trained: Sequence[Trained],
    found: FileFaces,
    *,
    aggregation: str = MEAN,
    threshold: float = math.nan,
    device: str = "cpu",
    threads: int = 1,
) -> Scores:
    """Score the faces that were found in files.

    Args:
        trained: Detectors; of several the mean score of each face counts.
        found: What `loose_files.find_faces` found, its samples in a store with the crops.
        aggregation: One of `AGGREGATIONS`.
        threshold: A video score at or above it is fake; NaN for no verdicts.
        device: `cpu` or `cuda:<number>`.
        threads: CPU cores that may be used to feed a GPU.
    """
    samples = Samples.read([found.samples])
    scores = np.zeros(len(samples), np.float64)
    for one in trained:
        torch.set_num_threads(one.detector.settings.cpu_threads)
        workers = default_workers(threads, device)
        of_one = predict_samples(one.detector, samples, found.store, batch_size=64, workers=workers, device=device)
        scores += of_one / len(trained)
    faces = read_table(found.samples, _FACE_COLUMNS).to_pandas().assign(label=0, score=scores)

    # a file is a video of the aggregation, and so is each of its tracks
    by_file = video_scores(faces, aggregation).set_index("video_id")["score"]
    of_tracks = faces.assign(video_id=faces["video_id"] + "#" + faces["track_id"].astype(str))
    by_track = video_scores(of_tracks, aggregation).set_index("video_id")["score"]

    files = pd.DataFrame(found.ledger)
    score = files["video_id"].map(by_file).astype(np.float64)
    names = dict(zip((row["video_id"] for row in found.videos), map(str, found.files), strict=True))
    files = pd.DataFrame(
        {
            "path": files["video_id"].map(names),
            "status": files["status"],
            "message": files["message"],
            "score": score,
            "verdict": verdicts(score, threshold),
            "n_tracks": files["n_tracks"],
            "n_faces": files["n_crops"],
            "n_frames_sampled": files["n_frames_sampled"],
        }
    )
    groups = of_tracks.groupby("video_id", sort=False)
    tracks = groups.agg(
        path=("video_id", lambda ids: names[ids.iloc[0].partition("#")[0]]),
        track_id=("track_id", "first"),
        n_faces=("track_id", "size"),
        begin_seconds=("pts_seconds", "min"),
        end_seconds=("pts_seconds", "max"),
    )
    tracks.insert(2, "score", by_track.reindex(tracks.index))
    tracks.insert(3, "verdict", verdicts(tracks["score"], threshold))
    tracks["file"] = [key.partition("#")[0] for key in tracks.index]
    tracks = tracks.sort_values(["file", "track_id"]).drop(columns="file").reset_index(drop=True)
    faces.insert(0, "path", faces["video_id"].map(names))
    faces = faces[["path", "track_id", "frame_index", "pts_seconds", *BOX_COLUMNS, "score"]]
    return Scores(files, tracks, faces, threshold, aggregation)


def read_configs(paths: Sequence[Path]) -> dict:
    """Configs one on top of the other, as Snakemake reads what stands after `--configfile`.

    Raises:
        UserError: One is absent, or is not YAML.
    """
    config: dict = {}
    for path in paths:
        config = _laid_over(config, read_config(path))
    return config


def experiment_block(name: str, config: dict, paths: Sequence[Path]) -> dict:
    """What a config says of an experiment: its evaluation's threshold and aggregation stand nowhere else.

    Args:
        name: Of the experiment.
        config: The config.
        paths: The files that it was read from.

    Raises:
        UserError: Nothing; the message names the study that has the experiment, if one of the project's has.
    """
    experiments = config.get("experiments") or {}
    if name in experiments:
        return experiments[name]
    studies = [path for path in sorted(STUDIES.glob("*.yaml")) if name in (read_config(path).get("experiments") or {})]
    way_out = "".join(f" --config {path}" for path in [*paths, *studies[:1]])
    hint = f"{studies[0]} has it: add{way_out}" if studies else "--config names another config"
    raise UserError(
        f"{name!r} is neither a checkpoint nor an experiment of {', '.join(map(str, paths))} (experiments there: "
        f"{', '.join(sorted(experiments)) or 'none'}); {hint}"
    )


def _laid_over(below: dict, above: dict) -> dict:
    both = {
        key: _laid_over(below[key], value)
        for key, value in above.items()
        if isinstance(value, dict) and isinstance(below.get(key), dict)
    }
    return below | above | both


def stage_settings(config: dict, dataset: str | None, changes: dict[str, dict]) -> StageSettings:
    """The settings with which faces are found.

    Args:
        config: A config, whose stages stand at its top; empty for the defaults.
        dataset: Data set of the config whose own settings come before those; None for none.
        changes: By stage, settings that come before both.

    Raises:
        UserError: A name or a value that is not allowed.
    """
    own: dict = {}
    if dataset is not None:
        datasets = config.get("datasets", {})
        if dataset not in datasets:
            raise UserError(f"--like: no data set {dataset!r} in the config; allowed: {', '.join(datasets) or 'none'}")
        own = datasets[dataset]
    classes = {"frames": FramesSettings, "faces": FacesSettings, "crops": CropsSettings}
    return StageSettings(
        **{
            stage: load_settings(cls, config.get(stage, {}) | own.get(stage, {}) | changes.get(stage, {}))
            for stage, cls in classes.items()
        }
    )


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
    config, block = {}, {}
    is_checkpoint = Path(args.detector).is_file() or Path(args.detector).suffix == ".ckpt"
    if args.config or args.like or not is_checkpoint:
        paths = args.config or [Path("config.yaml")]
        config = read_configs(paths)
        block = {} if is_checkpoint else experiment_block(args.detector, config, paths)
    members = block.get("ensemble", ())
    seeds = find_seeds(args.detector, args.results, args.seed, all_seeds=args.all_seeds, members=members)
    changes = {"frames": args.frames, "faces": args.faces, "crops": args.crops}
    if args.n_frames is not None:
        changes["frames"] = changes["frames"] | {"n_frames": args.n_frames}
    settings = stage_settings(config, args.like, changes)
    evaluation = load_settings(EvaluateSettings, config.get("evaluate", {}) | block.get("evaluate", {}))
    device = pick_device(args.device)
    trained = [Trained(path, *load_detector(path)) for of_seed in seeds for path in of_seed.checkpoints]
    aggregation = args.aggregation or evaluation.aggregation
    if aggregation == DETECTOR:
        aggregation = own_aggregation(trained)
    threshold = args.threshold
    if threshold is None and evaluation.threshold != VALIDATION:
        threshold = float(evaluation.threshold)
    if threshold is None:
        threshold = choose_threshold(seeds, trained, aggregation)

    with tempfile.TemporaryDirectory(prefix="score-") as folder:
        reading = {"workers": args.workers, "video_seconds": args.video_seconds}
        found = find_faces(list_files(args.files), Path(folder), settings, device=device, **reading)
        scores = score_faces(
            trained, found, aggregation=aggregation, threshold=threshold, device=device, threads=args.workers
        )
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
        "settings": dataclasses.asdict(settings),
    }


if __name__ == "__main__":
    run_command(main)
