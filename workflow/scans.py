"""Which scans of raw folders a call of Snakemake means: what `snakemake index` does that a rule cannot say.

Who asks for `index`, or for `index_videos_<d>`, means the raw folders as they are now: only the user can tell that one
has changed. So these are run although their table is there, and the shards' lists with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from preprocess.running.cli import UserError
from preprocess.store.stages import STAGES

# Asked for, it scans every data set.
EVERY_SCAN = "index"


def scan_rule(dataset: str) -> str:
    """Name of the rule that looks at a data set's raw folder and writes its table of videos."""
    return f"index_videos_{dataset}"


def lists_rule(dataset: str) -> str:
    """Name of the rule that cuts a data set's table of videos into a list for each shard."""
    return f"list_shards_{dataset}"


def force_scans(targets: Set[str], forced: Set[str], datasets: Iterable[str]) -> tuple[set[str], set[str]]:
    """What Snakemake is to make so that what is asked for is scanned, and lists are written with their table.

    Args:
        targets: Rules and files that are asked for.
        forced: Rules and files that are to run in any case (`--forcerun`).
        datasets: Names of all data sets.

    Returns:
        Targets and forced ones as they should be.

    Raises:
        UserError: A scan is asked for together with something else.
    """
    datasets = list(datasets)
    targets, forced = set(targets), set(forced)
    every_scan = {scan_rule(dataset) for dataset in datasets}
    scans = targets & {EVERY_SCAN, *every_scan}
    if scans and targets != scans:
        # in one plan everything below the lists would run, before it is known which of them change
        raise UserError(
            f"{', '.join(sorted(scans))} is asked for together with {', '.join(sorted(targets - scans))}: ask for "
            "the index first and, in a second call, for the result; it computes only the shards that changed"
        )
    forced |= every_scan if EVERY_SCAN in scans else scans
    for dataset in datasets:
        (table,) = (f"data/{table}" for table in STAGES["index"].tables(dataset))
        if forced & {scan_rule(dataset), table}:
            forced.add(lists_rule(dataset))
        elif table in targets:
            targets.add(lists_rule(dataset))
    return targets, forced
