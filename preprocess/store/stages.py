"""The stages of the store: the one list of their folders, files and versions, and what else planning asks of them.

The config, the rules, `status`, `verify` and the record of an experiment go through this list, so a stage that is
added here is seen by all of them. Only names and numbers are imported, so that planning stays quick.
"""

from __future__ import annotations

from dataclasses import dataclass

from preprocess.store import versions

# Share of a data set's videos that may be lost before its samples are not collected: what real collections lose to
# absent files, broken files and faces that nobody finds is less, a wrong `root` or a failing disc loses more.
MAX_LOST_SHARE = 0.25

# Leaves landmarks and hull masks out; only detectors that need neither can then be trained.
NO_PREDICTOR = "none"


@dataclass(frozen=True)
class Stage:
    """A stage of the store; paths are relative to the store's folder `data/`.

    Attributes:
        name: Its folder, and what its files say that they are (`Origin.stage`).
        version: `preprocess.store.versions` of it.
        shard_suffix: Of its file of each shard; None: it has none.
        table_suffixes: Of its files of a whole data set; empty: it has none.
        loses_videos: Whether a video may come in and not out; without landmarks or a known mask it is not lost.
        for_all_datasets: Whether its settings stand at the top of the config, and a data set may override them.
    """

    name: str
    version: int
    shard_suffix: str | None = "parquet"
    table_suffixes: tuple[str, ...] = ()
    loses_videos: bool = True
    for_all_datasets: bool = True

    def shard_file(self, dataset: str, shard: str) -> str:
        """Its file of a shard; of the index, the list of the shard's videos."""
        return f"{self.name}/{dataset}/{shard}.{self.shard_suffix}"

    def tables(self, dataset: str) -> tuple[str, ...]:
        """Its files of a whole data set."""
        return tuple(f"{self.name}/{dataset}.{suffix}" for suffix in self.table_suffixes)


# In the order in which a video goes through them.
STAGES = {
    stage.name: stage
    for stage in (
        Stage("index", versions.INDEX, table_suffixes=("parquet",), for_all_datasets=False),
        Stage("frames", versions.FRAMES),
        Stage("faces", versions.FACES),
        Stage("crops", versions.CROPS, shard_suffix="h5"),
        Stage("landmarks", versions.LANDMARKS, loses_videos=False),
        Stage("masks", versions.MASKS, shard_suffix="h5", loses_videos=False),
        Stage(
            "samples",
            versions.SAMPLES,
            shard_suffix=None,
            table_suffixes=("parquet", "ledger.parquet"),
            for_all_datasets=False,
        ),
    )
}

# Those that write a file for each shard.
SHARD_STAGES = {name: stage for name, stage in STAGES.items() if stage.shard_suffix}
