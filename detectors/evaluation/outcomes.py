"""What became of every video: scored, missing, or not usable."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from detectors.figures.tables import table_of
from detectors.measures.runs import DetectorRun, by_dataset, labelled_videos
from preprocess.store.schemas import VIDEO_SCORES
from preprocess.video.outcomes import OK, PARTIAL, VIDEO_STATUS

VIDEO_COLUMNS = ("dataset", "split", "n_videos", "n_real", "n_fake", *VIDEO_STATUS, "n_face_crops")
MISSING_COLUMNS = ("video_id", "dataset", "stage", "status", "message")


def missing_videos(runs: Sequence[DetectorRun], ledgers: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The table `missing.csv`: every labelled video of the test split that at least one seed has no prediction for.

    `stage`, `status` and `message` are the ledger's; where the ledger knows of no loss, the stage is `predict`.
    """
    tables = []
    for dataset, of_dataset in by_dataset(runs).items():
        videos = labelled_videos(ledgers[dataset], of_dataset[0].split)
        predicted = set.intersection(*(set(run.videos["video_id"][run.videos["predicted"]]) for run in of_dataset))
        missing = videos[~videos["video_id"].isin(predicted)].sort_values("video_id").assign(dataset=dataset)
        usable = missing["status"].isin([OK, PARTIAL])
        missing.loc[usable, "message"] = [
            f"{n_crops} face crops are in the store, but at least one seed has no prediction for them"
            for n_crops in missing.loc[usable, "n_crops"]
        ]
        missing.loc[usable, "stage"] = "predict"
        tables.append(missing[list(MISSING_COLUMNS)])
    return pd.concat(tables, ignore_index=True)


def video_outcomes(ledgers: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The table `videos.csv`: what became of the videos of every data set, a row per split.

    Args:
        ledgers: By data set, as `read_ledger` gives them.

    Returns:
        `VIDEO_COLUMNS`: numbers of videos by label and by status (`preprocess.store.schemas`), and of their face crops.
    """
    rows = []
    for dataset, ledger in ledgers.items():
        for split, videos in ledger.fillna({"split": "none"}).groupby("split", sort=True):
            counts = videos["status"].value_counts()
            rows.append(
                {"dataset": dataset, "split": split, "n_videos": len(videos)}
                | {"n_real": int((videos["label"] == 0).sum()), "n_fake": int((videos["label"] == 1).sum())}
                | {status: int(counts.get(status, 0)) for status in VIDEO_STATUS}
                | {"n_face_crops": int(videos["n_crops"].sum())}
            )
    return table_of(rows, VIDEO_COLUMNS)


def score_table(runs: Sequence[DetectorRun], thresholds: dict[int, dict[str, float]]) -> pd.DataFrame:
    """The table `video_scores.parquet` (`schemas.VIDEO_SCORES`): every video of every run, with its score."""
    tables = [
        run.videos.assign(
            experiment=run.experiment, dataset=run.dataset, seed=run.seed, threshold=thresholds[run.seed]["video"]
        )
        for run in runs
        if len(run.videos)
    ]
    table = pd.concat(tables) if tables else pd.DataFrame(columns=VIDEO_SCORES.names)
    return table[VIDEO_SCORES.names]
