"""Test whether two experiments differ in their video AUC: `python -m detectors.evaluation.compare --help`.

The test is that of DeLong, DeLong and Clarke-Pearson (Biometrics 44, 1988) for AUCs measured on the same videos, with
the placements found by ranking (Sun and Xu, IEEE Signal Processing Letters 21, 2014). An experiment of several seeds
stands with the mean of their AUCs. It asks whether other test videos would have given another order, not whether
another training would have.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from detectors.figures.tables import table_of, write_csv_and_page
from detectors.measures.metrics import INTERVAL_Z
from preprocess.running.cli import UserError, run_command
from preprocess.store.schemas import VIDEO_SCORES
from preprocess.store.tables import read_table

_OF_TEST = ("auc_a", "auc_b", "difference", "difference_low", "difference_high", "z", "p")
COLUMNS = ("experiment_a", "experiment_b", "dataset", "n_videos", "n_videos_missing", *_OF_TEST)


@dataclass(frozen=True)
class Placements:
    """How every video stands among those of the other class, averaged over the seeds.

    Attributes:
        fake: (n_fake,) share of the reals that score lower than each fake; ties count one half.
        real: (n_real,) share of the fakes that score higher than each real.
    """

    fake: np.ndarray
    real: np.ndarray

    @property
    def auc(self) -> float:
        """Mean of the seeds' AUCs."""
        return float(self.fake.mean())


@dataclass(frozen=True)
class Comparison:
    """Outcome of the test of two AUCs on the same videos; NaN where it is not defined.

    Attributes:
        auc_a, auc_b: The two AUCs.
        standard_error: Of their difference.
        z: The difference over its standard error; not defined where that is zero.
        p: Two-sided, from the normal distribution.
    """

    auc_a: float
    auc_b: float
    standard_error: float
    z: float
    p: float


def placements(labels: np.ndarray, scores: np.ndarray) -> Placements:
    """Placements of videos, from which the AUC and its variance follow (Sun and Xu, 2014, eq. 13 and 14).

    Args:
        labels: (N,) 0 real, 1 fake, both present.
        scores: (n_seeds, N) finite; higher means fake.
    """
    fake, real = scores[:, labels == 1], scores[:, labels == 0]
    n_fake, n_real = fake.shape[1], real.shape[1]
    ranks = rankdata(np.concatenate([fake, real], axis=1), axis=1)
    # a rank among all less the rank among one's own class is the number of the other class below
    n_reals_below = ranks[:, :n_fake] - rankdata(fake, axis=1)
    n_fakes_below = ranks[:, n_fake:] - rankdata(real, axis=1)
    return Placements((n_reals_below / n_real).mean(axis=0), (1 - n_fakes_below / n_fake).mean(axis=0))


def delong_test(a: Placements, b: Placements) -> Comparison:
    """Test two AUCs on the same videos, in the same order.

    The variance of the difference is that of the difference of the placements, among the fakes and among the reals.
    """
    variance = 0.0
    for of_a, of_b in ((a.fake, b.fake), (a.real, b.real)):
        variance += np.var(of_a - of_b, ddof=1) / len(of_a) if len(of_a) > 1 else math.nan
    error = math.sqrt(variance)
    z = (a.auc - b.auc) / error if error > 0 else math.nan
    return Comparison(a.auc, b.auc, error, z, math.erfc(abs(z) / math.sqrt(2)))


def compare(scores: pd.DataFrame) -> pd.DataFrame:
    """The table `compare.csv`: every pair of experiments on every data set that both were tested on.

    Args:
        scores: Rows of `schemas.VIDEO_SCORES` of several experiments.

    Returns:
        `COLUMNS`; pairs and data sets in the order of their appearance. The videos are those that every seed of both
        experiments has a score for; `n_videos_missing` of them got it without a prediction from one seed at least.
        NaN where the videos are not of both classes.

    Raises:
        UserError: Two experiments give a video different labels.
    """
    tested = {key: _tested(rows) for key, rows in scores.groupby(["experiment", "dataset"], sort=False)}
    experiments, datasets = scores["experiment"].unique(), scores["dataset"].unique()
    rows = []
    for a, b in itertools.combinations(experiments, 2):
        for dataset in datasets:
            if (a, dataset) in tested and (b, dataset) in tested:
                names = {"experiment_a": a, "experiment_b": b, "dataset": dataset}
                rows.append(names | _row(dataset, tested[a, dataset], tested[b, dataset]))
    return table_of(rows, COLUMNS)


@dataclass(frozen=True)
class _Tested:
    """What one experiment says of the videos of one data set that all its seeds have a score for.

    Attributes:
        videos: (N,) their ids, sorted.
        labels: (N,)
        scores: (n_seeds, N)
        predicted: (N,) bool, whether all seeds have a prediction.
    """

    videos: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    predicted: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> _Tested:
        return _Tested(self.videos[rows], self.labels[rows], self.scores[:, rows], self.predicted[rows])

    @functools.cached_property
    def placements(self) -> Placements:
        return placements(self.labels, self.scores)


def _tested(rows: pd.DataFrame) -> _Tested:
    of_seeds = [of_seed.set_index("video_id") for _, of_seed in rows.groupby("seed")]
    videos = functools.reduce(lambda a, b: a.intersection(b), (of_seed.index for of_seed in of_seeds)).sort_values()
    of_seeds = [of_seed.loc[videos] for of_seed in of_seeds]
    return _Tested(
        videos=videos.to_numpy(),
        labels=of_seeds[0]["label"].to_numpy(np.int64),
        scores=np.array([of_seed["score"].to_numpy(np.float64) for of_seed in of_seeds]),
        predicted=np.all([of_seed["predicted"].to_numpy(bool) for of_seed in of_seeds], axis=0),
    )


def _row(dataset: str, a: _Tested, b: _Tested) -> dict:
    if not np.array_equal(a.videos, b.videos):
        _, rows_of_a, rows_of_b = np.intersect1d(a.videos, b.videos, assume_unique=True, return_indices=True)
        a, b = a[rows_of_a], b[rows_of_b]
    if (a.labels != b.labels).any():
        raise UserError(
            f"data set {dataset!r}: the experiments disagree about the label of {a.videos[a.labels != b.labels][0]!r}; "
            "their evaluations are of different dates: evaluate again"
        )
    row = {"n_videos": len(a.videos), "n_videos_missing": int((~a.predicted | ~b.predicted).sum())}
    if len(np.unique(a.labels)) < 2:
        return row | dict.fromkeys(_OF_TEST, math.nan)
    result = delong_test(a.placements, b.placements)
    difference, reach = result.auc_a - result.auc_b, INTERVAL_Z * result.standard_error
    return row | {
        **{"auc_a": result.auc_a, "auc_b": result.auc_b, "difference": difference},
        **{"difference_low": difference - reach, "difference_high": difference + reach, "z": result.z, "p": result.p},
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--scores", nargs="+", type=Path, required=True, help="video_scores.parquet of every experiment"
    )
    parser.add_argument("--title", default="comparison", help="heading of the HTML page")
    parser.add_argument("--output", type=Path, required=True, help="CSV file; tables/compare.html is written beside it")
    args = parser.parse_args()
    tables = [read_table(path, VIDEO_SCORES.names).to_pandas() for path in args.scores]
    table = compare(pd.concat(tables, ignore_index=True))
    write_csv_and_page(args.output, args.title, table)


if __name__ == "__main__":
    run_command(main)
