"""The evaluations of several experiments, side by side: what cross evaluation and summaries read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from preprocess.running.cli import UserError


def read_evaluations(paths: Sequence[str | Path]) -> pd.DataFrame:
    """The rows of several `eval.csv`, in their order; `seed` is text.

    Raises:
        UserError: A file is absent or is no evaluation, or an experiment comes twice.
    """
    tables = {}
    for path in paths:
        try:
            table = pd.read_csv(path, dtype={"seed": str, "experiment": str, "dataset": str})
            name = table["experiment"].iloc[0]
            table["video_auc_predicted"], table["n_faces_fake"]  # which older ones lack
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise UserError(
                f"{path} is no evaluation ({error!r}); make it with python -m detectors.evaluate"
            ) from error
        if name in tables:
            raise UserError(f"{path} is of experiment {name!r}, of which another file was named before")
        tables[name] = table
    if not tables:
        raise UserError("there are no evaluations; name at least one eval.csv")
    return pd.concat(tables.values(), ignore_index=True)
