"""What Snakemake's planning costs by the number of videos: `python benchmarks/planning.py WORK --plot FILE.png`.

For each number of videos a config names DFDC, FaceForensics++ and Celeb-DF in the proportions of their real sizes, a
shard for 300 videos, and one experiment on them; the raw folders are empty, which planning never looks into. The
real `snakemake --dry-run` then plans it in three states: nothing is done; everything is done (each file of the store
is there, as a shell that is entered in the books `.made.jsonl`); everything is done and a data set of 20 shards is
added to the test sets. CPU time is what counts on a shared machine; memory is the peak of the process.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from preprocess.store.stages import SHARD_STAGES, STAGES
from workflow.config import resolve

ROOT = Path(__file__).parent.parent
# layout, videos: DFDC with its public test set, FaceForensics++ with FaceShifter and DeepFakeDetection (c23), v2
REAL_SIZES = {"dfdc": ("dfdc", 124_154), "ffpp": ("faceforensics", 9_431), "celebdf": ("celebdf", 6_529)}
REAL_TOTAL = sum(videos for _, videos in REAL_SIZES.values())
VIDEOS_A_SHARD = 300
ADDED_SHARDS = 20
TARGET = "results/ucf/eval.csv"
# Snakemake, but for this: before it plans, all files are entered in the books as if their jobs had made them.
ENTER = """
import snakemake.cli
from workflow import snakemake_planning as planning

plan = planning._update_needrun


async def enter_and_plan(dag, create_inventory=False):
    planner = dag.workflow.content_planner
    for level in dag.toposorted():
        for job in filter(planner.decides, level):
            planner.finished(job)
    await plan(dag, create_inventory)


planning._HOOKS = [(of, name, enter_and_plan if hook is plan else hook) for of, name, hook in planning._HOOKS]
snakemake.cli.main()
"""
STATES = {"nothing": "nothing is done", "done": "everything is done", "added": "a data set is added"}


@dataclass(frozen=True)
class Plan:
    """What one dry run took, and the jobs that it found."""

    n_videos: int
    state: str
    n_jobs: int
    wall_seconds: float
    cpu_seconds: float
    peak_mb: float


def planning_config(n_videos: int) -> dict:
    """A config of three data sets in the proportions of `REAL_SIZES`, and one experiment on all of them."""
    datasets = {}
    for name, (layout, of_total) in REAL_SIZES.items():
        n_shards = max(1, math.ceil(n_videos * of_total / REAL_TOTAL / VIDEOS_A_SHARD))
        datasets[name] = {"layout": layout, "root": f"raw/{name}", "n_shards": n_shards}
    return {
        "datasets": datasets,
        "landmarks": {"predictor": "none"},
        "experiments": {"ucf": {"detector": "ucf", "train": ["ffpp"], "test": list(datasets), "seeds": [0]}},
    }


def n_planned_jobs(config: dict) -> int:
    """Jobs from nothing to `eval.csv`, counted on paper."""
    n_shards = sum(dataset["n_shards"] for dataset in config["datasets"].values())
    # of a data set: scan, lists, samples, predictions; of the experiment: leakage, training, evaluation
    return len(SHARD_STAGES.keys() - {"index"}) * n_shards + 4 * len(config["datasets"]) + 3


def make_shells(folder: Path, config: dict) -> None:
    """Every file that the plan would make, each with its own name as content."""
    paths = []
    for name, of in resolve(config).items():
        paths += [f"data/{table}" for stage in STAGES.values() for table in stage.tables(name)]
        for shard in of["shards"]:
            paths += [f"data/{stage.shard_file(name, shard)}" for stage in SHARD_STAGES.values()]
        paths.append(f"results/ucf/seed0/predictions/{name}.parquet")
    paths += [f"results/ucf/seed0/{file}" for file in ("detector.ckpt", "summary.json", "validation.parquet")]
    paths += [f"results/ucf/{file}" for file in ("leakage.csv", "video_scores.parquet", "record.json")]
    for table in ("eval", "missing", "videos"):
        paths += [f"results/ucf/{table}.csv", f"results/ucf/tables/{table}.html"]
    figures = ("roc", "precision_recall", "scores", "thresholds", "confusion")
    paths += [f"results/ucf/figures/{name}.{suffix}" for name in figures for suffix in ("png", "svg")]
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)


def run_snakemake(
    folder: Path, config: dict, *arguments: str, program: tuple[str, str] = ("-m", "snakemake")
) -> tuple[str, float, float, float]:
    """Run Snakemake, or a program that does, in a folder; returns what it printed, wall and CPU seconds and peak MB."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, *program, "--snakefile", ROOT / "Snakefile", "--directory", folder]
    command += ["--configfile", folder / "config.yaml", "--workflow-profile", ROOT / "profiles/default", "--cores"]
    output = folder / "output.txt"
    begin = time.monotonic()
    with output.open("w") as file:
        process = subprocess.Popen(
            [*map(str, command), *arguments, "--", TARGET],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
    printed = output.read_text()
    if status:
        raise RuntimeError(f"snakemake failed:\n{printed[-3000:]}")
    return printed, time.monotonic() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def plan(folder: Path, config: dict, n_videos: int, state: str) -> Plan:
    """Measure one dry run."""
    printed, *cost = run_snakemake(folder, config, "2000", "--dry-run")
    totals = re.findall(r"^total\s+(\d+)$", printed, re.MULTILINE)
    result = Plan(n_videos, state, int(totals[0]) if totals else 0, *cost)
    print(as_row(result), flush=True)
    return result


def as_row(result: Plan) -> str:
    """A line of a Markdown table."""
    cells = [f"{result.n_videos:,}", STATES[result.state], f"{result.n_jobs:,}"]
    return f"| {' | '.join(cells)} | {result.wall_seconds:.1f} | {result.cpu_seconds:.1f} | {result.peak_mb:.0f} |"


def draw(results: list[Plan], path: Path) -> None:
    """Draw CPU seconds and memory against the number of videos, on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for number, (state, label) in enumerate(STATES.items()):
        of_state = [result for result in results if result.state == state]
        style = {"marker": "osD"[number], "label": label, "color": ("#0072B2", "#D55E00", "#009E73")[number]}
        videos = [result.n_videos for result in of_state]
        left.plot(videos, [result.cpu_seconds for result in of_state], **style)
        right.plot(videos, [result.peak_mb for result in of_state], **style)
    for axis, title, unit, goals in (
        (left, "CPU time of a dry run", "seconds", ((REAL_TOTAL, 15), (1_000_000, 60))),
        (right, "Peak memory", "MB", ((REAL_TOTAL, 500),)),
    ):
        for number, (videos, goal) in enumerate(goals):
            style = {"color": "black", "linewidth": 2, "label": None if number else "goal, at most"}
            axis.plot([videos / 1.4, videos * 1.4], [goal, goal], **style)
        axis.set(xscale="log", xlabel="videos", ylabel=unit, title=title)
        axis.grid(color="0.9")
        axis.spines[["top", "right"]].set_visible(False)
    left.set_yscale("log", subs=())
    left.set_yticks(ticks := [2, 5, 10, 20, 50], map(str, ticks))
    left.minorticks_off()
    right.set_ylim(0, 550)
    left.legend(fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Command line of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for the configs and the empty stores")
    parser.add_argument("--counts", type=int, nargs="+", default=[3_000, 30_000, REAL_TOTAL, 400_000, 1_000_000])
    parser.add_argument(
        "--done-up-to", type=int, default=REAL_TOTAL, help="most videos for which finished stores are made, a slow job"
    )
    parser.add_argument("--plot", type=Path, help="picture to draw")
    args = parser.parse_args()
    print("| videos | state | jobs planned | wall s | CPU-s | peak MB |\n|---|---|---|---|---|---|")
    results = []
    for count in args.counts:
        folder, config = args.work.resolve() / f"{count}_videos", planning_config(count)
        results.append(plan(folder / "nothing", config, count, "nothing"))
        if results[-1].n_jobs != n_planned_jobs(config):
            raise RuntimeError(f"{results[-1].n_jobs} jobs are planned, {n_planned_jobs(config)} were expected")
        if count > args.done_up_to:
            continue
        done = folder / "done"
        if not (done / TARGET).exists():
            make_shells(done, config)
            run_snakemake(done, config, "2000", "--dry-run", "--quiet", "all", program=("-c", ENTER))
        results.append(plan(done, config, count, "done"))
        added = {"layout": "videos", "root": "raw/own", "n_shards": ADDED_SHARDS, "index": {"label": "real"}}
        config["datasets"]["own"] = added
        config["experiments"]["ucf"]["test"].append("own")
        results.append(plan(done, config, count, "added"))
    (args.work / "planning.json").write_text(json.dumps([asdict(result) for result in results], indent=2))
    if args.plot:
        draw(results, args.plot)


if __name__ == "__main__":
    main()
