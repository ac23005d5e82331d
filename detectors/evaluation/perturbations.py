"""Errors by what was done to a video: `perturbations.csv` and a figure, from what a data set says of its videos.

The columns are told in `docs/robustness.md`. Only data sets that name perturbations are in the table; DFDC does.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from detectors.figures.labels import figure_title
from detectors.figures.style import FAKE_COLOUR, REAL_COLOUR, empty_figure, write_figure
from detectors.figures.tables import table_of, write_csv_and_page
from detectors.measures.metrics import INTERVAL_Z
from detectors.measures.runs import MEAN_ROW
from preprocess.datasets.dfdc import AUGMENTER, DISTRACTOR, OTHER, perturbations
from preprocess.running.cli import UserError, log, run_command
from preprocess.store.tables import read_table

NONE, ALL = "none", "all"
KINDS = (AUGMENTER, DISTRACTOR, OTHER)
CLASSES = ("real", "fake")
MEASURED = ("n_wrong", "share_wrong", "share_wrong_low", "share_wrong_high")
COLUMNS = (
    *("experiment", "seed", "dataset", "kind", "perturbation", "class", "n_videos", "n_videos_missing"),
    *MEASURED,
)


def read_perturbations(lists: Sequence[Path]) -> dict[str, dict[str, list[tuple[str, str]]]]:
    """What was done to each video, by data set and video; without the data sets that name no perturbation.

    Args:
        lists: Lists of the shards, or whole tables of the index.
    """
    named: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for path in lists:
        table = read_table(path, ["dataset", "video_id", "metadata"]).to_pydict()
        for dataset, video, metadata in zip(*table.values(), strict=True):
            named.setdefault(dataset, {})[video] = perturbations(metadata)
    return {dataset: videos for dataset, videos in named.items() if any(videos.values())}


def wilson_interval(n_wrong: float, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share, without continuity correction (Wilson, 1927).

    Args:
        n_wrong: Of `n`; a mean over seeds may be between two whole numbers.
        n: At least 1.
    """
    share, weight = n_wrong / n, INTERVAL_Z**2 / n
    centre = (share + weight / 2) / (1 + weight)
    half = INTERVAL_Z / (1 + weight) * math.sqrt(share * (1 - share) / n + weight / (4 * n))
    # rounding may leave the share itself outside, by 1e-17 where none or all are wrong; a figure refuses that
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def errors_by_perturbation(scores: pd.DataFrame, named: dict[str, dict[str, list[tuple[str, str]]]]) -> pd.DataFrame:
    """The table `perturbations.csv`.

    Args:
        scores: Rows of `schemas.VIDEO_SCORES` of one experiment.
        named: As `read_perturbations` gives it.

    Returns:
        `COLUMNS`: per data set, kind and perturbation the real and the fake videos apart, a row per seed and one of
        their mean. A video with two perturbations counts in both. `none` stands for the videos without one of that
        kind, the kind `all` for all videos. NaN where there is no threshold.

    Raises:
        UserError: Scores and index tell of different videos.
    """
    rows = []
    for dataset, of_dataset in scores.groupby("dataset", sort=False):
        if dataset not in named:
            log.info("data set %s names no perturbations of its videos: it is left out", dataset)
            continue
        of_video = named[dataset]
        unknown = set(of_dataset["video_id"]) - of_video.keys()
        if unknown:
            raise UserError(
                f"data set {dataset!r}: the index does not hold {min(unknown)!r} ({len(unknown)} such videos), which "
                "has a score; scores and index are of different dates: evaluate again"
            )
        videos = of_dataset["video_id"].map(of_video)
        wrong = (of_dataset["score"] >= of_dataset["threshold"]) != (of_dataset["label"] == 1)
        of_dataset = of_dataset.assign(wrong=wrong.where(of_dataset["threshold"].notna()).astype(float))
        for kind, name in _groups(videos):
            members = of_dataset[[_belongs(told, kind, name) for told in videos]]
            for label, word in enumerate(CLASSES):
                of_class = members[members["label"] == label]
                if len(of_class):
                    rows += _rows(of_class, {"dataset": dataset, "kind": kind, "perturbation": name, "class": word})
    return table_of(rows, COLUMNS).astype({"seed": object})


def _groups(videos: pd.Series) -> list[tuple[str, str]]:
    """Kind and name of every group of videos that has rows, in their order."""
    groups = [(ALL, ALL)]
    for kind in KINDS:
        names = sorted({name for told in videos for found, name in told if found == kind})
        if names:
            groups += [(kind, NONE), *((kind, name) for name in names)]
    return groups


def _belongs(told: list[tuple[str, str]], kind: str, name: str) -> bool:
    if kind == ALL:
        return True
    return not any(found == kind for found, _ in told) if name == NONE else (kind, name) in told


def _rows(videos: pd.DataFrame, names: dict) -> list[dict]:
    """A row per seed and one of their mean, of which the counts of videos are rounded up."""
    experiment = videos["experiment"].iloc[0]
    seeds = {
        seed: (float(of_seed["wrong"].sum(skipna=False)), len(of_seed), int((~of_seed["predicted"]).sum()))
        for seed, of_seed in videos.groupby("seed", sort=True)
    }
    n_wrong, n_videos, n_missing = np.mean(list(seeds.values()), axis=0)
    rows = {**seeds, MEAN_ROW: (n_wrong, math.ceil(n_videos), math.ceil(n_missing))}
    return [_row(experiment, seed, names, *counts) for seed, counts in rows.items()]


def _row(experiment: str, seed: int | str, names: dict, n_wrong: float, n_videos: int, n_missing: int) -> dict:
    return {
        **{"experiment": experiment, "seed": seed, **names, "n_videos": n_videos, "n_videos_missing": n_missing},
        **_measure(n_wrong, n_videos),
    }


def _measure(n_wrong: float, n: int) -> dict[str, float]:
    if math.isnan(n_wrong):
        return dict.fromkeys(MEASURED, math.nan)
    return dict(zip(MEASURED, (n_wrong, n_wrong / n, *wilson_interval(n_wrong, n)), strict=True))


def draw_errors(table: pd.DataFrame) -> Figure:
    """Share of wrong videos with its interval, a panel per data set and kind: reals and fakes side by side.

    Args:
        table: What `errors_by_perturbation` returns.
    """
    mean = table[(table["seed"] == MEAN_ROW) & (table["kind"] != ALL)]
    panels = list(mean.groupby(["dataset", "kind"], sort=False))
    if not panels:
        return empty_figure("no test data set names\nperturbations of its videos")
    heights = [of_panel["perturbation"].nunique() for _, of_panel in panels]
    figure = Figure(figsize=(5.2, 1.0 + 0.34 * sum(heights) + 0.55 * len(panels)), layout="constrained")
    handles = {}
    grid = figure.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=[0.7 + n for n in heights])
    for axes, ((dataset, kind), of_panel) in zip(grid[:, 0], panels, strict=True):
        names = list(dict.fromkeys(of_panel["perturbation"]))
        for word, colour, offset in (("real", REAL_COLOUR, -0.19), ("fake", FAKE_COLOUR, 0.19)):
            of_class = of_panel[of_panel["class"] == word]
            place = np.array([names.index(name) for name in of_class["perturbation"]]) + offset
            share = 100 * of_class["share_wrong"]
            spread = [share - 100 * of_class["share_wrong_low"], 100 * of_class["share_wrong_high"] - share]
            handles[word] = axes.barh(place, share, height=0.36, color=colour, alpha=0.8)
            axes.errorbar(share, place, xerr=spread, fmt="none", ecolor="black", elinewidth=0.8, capsize=1.5)
            for y, n in zip(place, of_class["n_videos"], strict=True):
                axes.text(101, y, f"{n}", va="center", fontsize=7, color="#555555", clip_on=False)
        axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(0, 100)
        axes.grid(axis="y", visible=False)
        overall = table[(table["seed"] == MEAN_ROW) & (table["kind"] == ALL) & (table["dataset"] == dataset)]
        for word, colour in (("real", REAL_COLOUR), ("fake", FAKE_COLOUR)):
            for share in 100 * overall.loc[overall["class"] == word, "share_wrong"]:
                handles["all videos"] = axes.axvline(share, color=colour, linestyle=":", linewidth=1.0)
        axes.set_title(f"{dataset}: {kind}s" if kind != OTHER else f"{dataset}: other perturbations", loc="left")
    grid[-1, 0].set_xlabel("videos called wrongly (%)")
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=3)
    figure.suptitle(figure_title(table))
    return figure


def main() -> None:
    """Command line: `python -m detectors.evaluation.perturbations --help`."""
    parser = argparse.ArgumentParser(
        prog="python -m detectors.evaluation.perturbations", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--scores", type=Path, required=True, help="video_scores.parquet of the experiment")
    parser.add_argument(
        "--index", nargs="+", type=Path, required=True, help="index of every test data set, by shard or whole"
    )
    parser.add_argument("--output", type=Path, required=True, help="perturbations.csv; tables/ is written beside it")
    parser.add_argument("--figure", type=Path, required=True, help="figure to write, without a suffix")
    args = parser.parse_args()

    scores = read_table(args.scores).to_pandas()
    table = errors_by_perturbation(scores, read_perturbations(args.index))
    figures = write_figure(args.figure, partial(draw_errors, table))
    experiment = scores["experiment"].iloc[0] if len(scores) else "experiment"
    write_csv_and_page(args.output, f"{experiment}: errors by perturbation", table)
    print(f"\ntable    {args.output}\nfigure   " + "\n         ".join(map(str, figures)))


if __name__ == "__main__":
    run_command(main)
