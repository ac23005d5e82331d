"""Does UCF's common head know a manipulation that it never saw better than a plain network of the same backbone?

Both learn, from the same crops and for as long, the reals and some of the manipulations of a FaceForensics++-like
data set; both are tested on the test split's reals and the manipulations left out. The table tells the video and
frame AUC of each seed, and the mean difference with its 95 % interval (Student's t over the seeds, paired).

    python benchmarks/unseen_manipulation.py --data data --dataset ff_synthetic --unseen Face2Face NeuralTextures \\
        --output unseen.csv
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from scipy import stats
from sklearn.metrics import roc_auc_score

from detectors.measures.aggregation import video_scores
from detectors.predict import predict_dataset
from detectors.train import train_detector
from preprocess.store.origin import read_origin
from preprocess.store.schemas import REAL, SAMPLES
from preprocess.store.tables import read_table, write_table

# as in the shipped demonstration, at a constant learning rate: small networks learn the rendered collections from
# nothing
SHARED = {
    "backbone": "resnet10t",
    "backbone_stride": 16,
    "pretrained": False,
    "learning_rate": 0.001,
    "augmentation": "none",
}
DETECTORS = {
    "ucf": {"channels": 64, "batch_size": 8},  # pairs
    "classifier": {"batch_size": 16, "balance": "method"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the store (default: data)")
    parser.add_argument("--dataset", default="ff_synthetic", help="default: %(default)s")
    parser.add_argument("--unseen", nargs="+", default=["Face2Face", "NeuralTextures"], help="default: %(default)s")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4], help="default: 0 to 4")
    parser.add_argument("--size", type=int, default=112, help="side of the input in pixels (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=12, help="default: %(default)s")
    parser.add_argument("--samples-per-epoch", type=int, default=800, help="default: %(default)s")
    parser.add_argument("--cpu-threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, required=True, help="CSV of a row per seed and detector")
    args = parser.parse_args()

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in args.seeds:
            for detector in DETECTORS:
                rows.append({"detector": detector, "seed": seed, **_measure(detector, seed, args, Path(folder))})
                print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.output, index=False, float_format="%.4f")
    print(table.to_string(index=False, float_format="%.3f"))
    for level in ("video", "frame"):
        by_seed = table.pivot(index="seed", columns="detector", values=f"{level}_auc")
        difference = by_seed["ucf"] - by_seed["classifier"]
        mean, half = difference.mean(), _half_interval(difference)
        print(
            f"{level} AUC on {', '.join(args.unseen)}: ucf {by_seed['ucf'].mean():.3f}, classifier "
            f"{by_seed['classifier'].mean():.3f}; difference {mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"
        )


def _measure(detector: str, seed: int, args: argparse.Namespace, folder: Path) -> dict:
    seen, held_out = _tables(args.data / "samples" / f"{args.dataset}.parquet", args.unseen, folder)
    work = folder / f"{detector}{seed}"
    settings = SHARED | DETECTORS[detector]
    summary = train_detector(
        experiment="unseen_manipulation",
        detector=detector,
        seed=seed,
        samples=[seen],
        data=args.data,
        settings=settings
        | {"size": args.size, "epochs": args.epochs, "samples_per_epoch": args.samples_per_epoch}
        | {"cpu_threads": args.cpu_threads},
        output=work / "detector.ckpt",
        summary=work / "summary.json",
        validation=work / "validation.parquet",
        logs=work / "logs",
        threads=os.cpu_count() or 1,
        device=args.device,
    )
    result = {"val_video_auc": summary["best"]["val/video_auc"], "training_seconds": summary["training_seconds"]}
    for name, samples in (("", held_out), ("seen_", seen)):
        scored = predict_dataset(
            checkpoint=work / "detector.ckpt",
            samples=samples,
            data=args.data,
            split="test",
            output=work / "predictions.parquet",
            device=args.device,
        ).to_pandas()
        for level, frames in (("frame", scored), ("video", video_scores(scored))):
            result[f"{name}{level}_auc"] = roc_auc_score(frames["label"], frames["score"])
    return result


def _tables(samples: Path, unseen: list[str], folder: Path) -> tuple[Path, Path]:
    """Samples tables of the reals with the manipulations to learn, and of the reals with those left out."""
    table, origin = read_table(samples), read_origin(samples)
    known = set(table["method"].to_pylist()) - {REAL}
    if not set(unseen) < known:
        raise SystemExit(f"--unseen: found {unseen}; allowed: some, not all, of {sorted(known)}")
    paths = []
    for name, methods in (("seen", known - set(unseen)), ("unseen", set(unseen))):
        path = folder / name / samples.name
        part = table.filter(pc.is_in(table["method"], value_set=pc.cast([REAL, *sorted(methods)], "string")))
        write_table(path, part, SAMPLES, origin)
        paths.append(path)
    return paths[0], paths[1]


def _half_interval(values: pd.Series) -> float:
    if len(values) < 2:
        return math.nan
    return float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))


if __name__ == "__main__":
    main()
