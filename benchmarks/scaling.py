"""How the stages' time and memory grow with the number of videos: `python benchmarks/scaling.py WORK --plot FILE.png`.

One small drawn clip with a face (H.264, 160 x 160 px, 8 frames of which 4 are sampled) is copied 100, 1,000 and 10,000
times into a folder, and the stages run on it as a single shard on two workers. A stage scales when what a video costs
stays the same, and when its memory grows by no more than the table's rows do.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np
from measure import STAGES, command_cost, stage_cost

from preprocess.synthetic import render_portrait
from preprocess.synthetic.encode import write_video

COUNTS = (100, 1000, 10000)
SIDE_PX = 160
N_FRAMES = 8
N_SAMPLED = 4


def main() -> None:
    """Command line of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for the collections")
    parser.add_argument("--predictor", default="none", help="81-point predictor, dlib's .dat format (default: none)")
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, help="numbers of videos")
    parser.add_argument("--plot", type=Path, help="picture to draw")
    args = parser.parse_args()
    clip = args.work / "clip.mp4"
    args.work.mkdir(parents=True, exist_ok=True)
    face, _ = render_portrait(np.random.default_rng(3), SIDE_PX, SIDE_PX)
    write_video(clip, np.repeat(face[None], N_FRAMES, axis=0), fps=25, crf=23)
    results = {count: measure(args.work / f"{count}_videos", clip, count, args.predictor) for count in args.counts}
    (args.work / "scaling.json").write_text(json.dumps(results, indent=2))
    print_table(results)
    if args.plot:
        draw(results, args.plot)


def measure(folder: Path, clip: Path, count: int, predictor: str) -> dict[str, dict]:
    """CPU-seconds and peak bytes of each stage on `count` copies of the clip."""
    root, data = folder / "raw", folder / "data"
    root.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        copy = root / f"{number:05d}.mp4"
        if not copy.exists():
            shutil.copyfile(clip, copy)
    settings = {"index": {"label": "real"}, "frames": {"n_frames": N_SAMPLED}}
    options = {"layout": "videos", "settings": settings, "predictor": predictor, "workers": 2}
    costs = {stage: stage_cost(stage, data, root, **options) for stage in STAGES}
    shared = ["--data", data, "--dataset", "c", "--n-shards", 1, "--ledger", data / "ledger.parquet"]
    command = [sys.executable, "-m", "preprocess.samples", *shared, "--output", data / "samples.parquet"]
    costs["samples"] = command_cost([str(word) for word in command])
    return {
        stage: {"cpu_s": cost.cpu_seconds, "wall_s": cost.wall_seconds, "peak_mb": cost.peak_bytes / 1e6}
        for stage, cost in costs.items()
    }


def print_table(results: dict[int, dict]) -> None:
    """Print CPU-milliseconds a video and peak memory of each stage by the number of videos."""
    counts = list(results)
    print("| stage | " + " | ".join(f"{count:,}: CPU-ms a video, MB" for count in counts) + " |")
    print("|---|" + "---|" * len(counts))
    for stage in (*STAGES, "samples"):
        cells = [
            f"{1000 * results[count][stage]['cpu_s'] / count:.1f}, {results[count][stage]['peak_mb']:.0f}"
            for count in counts
        ]
        print(f"| {stage} | " + " | ".join(cells) + " |")


def draw(results: dict[int, dict], path: Path) -> None:
    """Draw CPU-seconds and memory against the number of videos, on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    counts = list(results)
    for number, stage in enumerate((*STAGES, "samples")):
        style = {"marker": "osD^vPX"[number], "label": stage, "color": f"C{number}", "markersize": 5}
        left.plot(counts, [results[count][stage]["cpu_s"] for count in counts], **style)
        right.plot(counts, [results[count][stage]["peak_mb"] for count in counts], **style)
    slope = [0.01 * count for count in counts]
    left.plot(counts, slope, color="0.6", linestyle="--", label="10 ms a video")
    left.set(xscale="log", yscale="log", xlabel="videos in the shard", ylabel="CPU-seconds", title="Time")
    right.set(xscale="log", ylim=(0, None), xlabel="videos in the shard", ylabel="MB", title="Peak memory")
    left.legend(fontsize=8, frameon=False)
    for axis in (left, right):
        axis.grid(color="0.9")
        axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
