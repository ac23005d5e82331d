"""What `config.yaml` may hold: its keys with their types, limits and meanings, one model for each kind of block.

The settings of stages and detectors are models of their own, which the blocks hold. What names in the config mean to
one another is checked in `workflow.config_names`. A detector's settings depend on the detector, so that
`workflow.config` checks them one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field

from detectors.evaluation.settings import EvaluateSettings, RobustnessSettings
from detectors.families import FAMILIES
from preprocess.datasets import LAYOUTS
from preprocess.running.cli import VIDEO_SECONDS
from preprocess.running.settings import Settings, Share
from preprocess.settings.crops import CropsSettings
from preprocess.settings.faces import FacesSettings
from preprocess.settings.frames import FramesSettings
from preprocess.settings.index import IndexSettings
from preprocess.settings.landmarks import LandmarksSettings
from preprocess.settings.masks import MasksSettings
from preprocess.settings.synthetic import SyntheticSettings
from preprocess.store.stages import MAX_LOST_SHARE

# The predictor that the workflow itself trains, for the synthetic collections only.
SYNTHETIC_PREDICTOR = "data/predictor/synthetic_81.dat"


S = TypeVar("S", bound=Settings)

if TYPE_CHECKING:
    Layout = str
    Detector = str
else:
    Layout = Literal[*LAYOUTS]
    Detector = Literal[*FAMILIES]


def _block(settings: type[S]) -> S:
    """A block that may be left out."""
    return Field(default_factory=lambda: settings())


def _not_given() -> Any:
    """What a key is that may be left out and has no default; to write null there is a mistake."""
    return None


def _each_once(values: list) -> list:
    if len(set(values)) < len(values):
        raise ValueError("an entry is named twice")
    return values


Name = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="a name of letters, digits, '_' and '-'")
]
EachOnce = AfterValidator(_each_once)
Unique = Field(json_schema_extra={"uniqueItems": True})
Names = Annotated[list[str], Field(min_length=1), EachOnce, Unique]
Seed = Annotated[int, Field(ge=0)]
Leak = Literal["video", "source", "identity"]


class LandmarksBlock(LandmarksSettings):
    """The settings of the stage `landmarks`, and the file that it reads."""

    predictor: str = Field(
        SYNTHETIC_PREDICTOR, description="81-point shape predictor (dlib's .dat), or none to leave landmarks out"
    )


# By name of the stage, of those that `preprocess.store.stages` says stand at the top of the config.
STAGE_SETTINGS: dict[str, type[Settings]] = {
    "frames": FramesSettings,
    "faces": FacesSettings,
    "crops": CropsSettings,
    "landmarks": LandmarksBlock,
    "masks": MasksSettings,
}


class StageBlocks(Settings):
    """What the config says for all data sets, and a data set for itself."""

    frames: FramesSettings = _block(FramesSettings)
    faces: FacesSettings = _block(FacesSettings)
    crops: CropsSettings = _block(CropsSettings)
    landmarks: LandmarksBlock = _block(LandmarksBlock)
    masks: MasksSettings = _block(MasksSettings)
    max_lost_share: Share = Field(
        MAX_LOST_SHARE, description="share of a data set's videos that may be lost before the run stops"
    )


class Dataset(StageBlocks):
    """A collection."""

    layout: Layout = Field(description="how the collection lies on disk, as its owners publish it")
    root: str = Field(min_length=1, description="raw folder, only read")
    n_shards: int = Field(ge=1, le=9999, description="files per stage; about one for 300 videos")
    accept_smaller: int = Field(
        default_factory=_not_given,
        ge=1,
        description="number of usable videos that the collection may have shrunk to; else a new index that lost more "
        "than max_lost_share, or all of a label, method or split, stops",
    )
    index: IndexSettings = _block(IndexSettings)
    synthetic: SyntheticSettings = _block(SyntheticSettings)


class Study(Settings):
    """Experiments whose results are put side by side."""

    experiments: Names = Field(description="at least one experiment, each named once")


class Experiment(Settings):
    """What is trained on which data sets and tested on which; or an ensemble, which averages the scores of others."""

    detector: Detector = Field(default_factory=_not_given, description="detector to train")
    ensemble: Annotated[list[str], Field(min_length=2), EachOnce, Unique] = Field(
        default_factory=_not_given,
        description="at least two other experiments, each named once, whose scores are averaged; then without "
        "detector, train and settings",
    )
    train: Names = Field(default_factory=_not_given, description="at least one data set, each named once")
    test: Names = Field(description="at least one data set, each named once")
    seeds: Annotated[list[Seed], Field(min_length=1), EachOnce, Unique] = Field(
        description="at least one seed, each named once"
    )
    allow_leakage: Annotated[list[Leak], EachOnce, Unique] = Field(
        [],
        description="what test videos may share with the training set, for protocols that have it so; else the run "
        "stops",
    )
    settings: dict[str, Any] = Field({}, description="settings of the detector")
    evaluate: EvaluateSettings = _block(EvaluateSettings)

    def contradictions(self) -> Iterator[str]:
        given = self.model_fields_set
        if "ensemble" not in given:
            for key in sorted({"detector", "train"} - given):
                yield f"{key}: missing; an experiment has `detector` and `train`, or `ensemble`"
            return
        for key in ("detector", "train", "settings"):
            if key in given:
                yield (
                    f"{key}: found with `ensemble`, which averages the scores of others and trains nothing; remove "
                    f"`{key}` or `ensemble`"
                )


class Config(StageBlocks):
    """The whole of `config.yaml`."""

    datasets: dict[Name, Dataset] = Field(
        min_length=1, description="collections, by a name of letters, digits, '_' and '-'"
    )
    groups: dict[Name, Names] = Field(
        {},
        description="lists of data sets by a name that may stand in the train and test lists of experiments; at least "
        "one data set, each named once",
    )
    experiments: dict[Name, Experiment] = Field(
        {}, description="what is trained on which data sets and tested on which, by name"
    )
    studies: dict[Name, Study] = Field({}, description="experiments whose results are put side by side, by name")
    evaluate: EvaluateSettings = _block(EvaluateSettings)
    robustness: RobustnessSettings = _block(RobustnessSettings)
    video_seconds: int = Field(
        VIDEO_SECONDS,
        ge=1,
        description="time that a stage may take over one video before it gives it up, in seconds",
    )
    container: str = Field(
        default_factory=_not_given,
        min_length=1,
        description="image of envs/Dockerfile that jobs run in, a file or docker://…, used with "
        "--software-deployment-method apptainer",
    )

    def predictor(self, dataset: str) -> str:
        """The landmark predictor of a data set: its own, or that of all."""
        own = self.datasets[dataset].landmarks
        return (own if "predictor" in own.model_fields_set else self.landmarks).predictor

    def members(self, name: str) -> list[str]:
        """The data sets that an entry of a list stands for: itself, or those of the group of this name."""
        return self.groups.get(name, [name])
