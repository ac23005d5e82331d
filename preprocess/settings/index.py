"""Settings of the stage `index`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from preprocess.running.settings import Settings, Share

Split = Literal["train", "val", "test"]


class IndexSettings(Settings):
    """Which videos of a collection are used."""

    compressions: list[str] | None = Field(
        None, description="Compressions to take, such as [c23]; null takes every one found. For faceforensics only."
    )
    methods: list[str] | None = Field(
        None,
        description="Manipulation methods to take, with the real videos they were made from; null takes every one "
        "found.",
    )
    label: Literal["real", "fake"] | None = Field(
        None,
        description="For the layouts videos and images: the label of the whole set; null when it has folders real/ and "
        "fake/.",
    )
    test_share: Share | Annotated[list[Share], Field(min_length=2, max_length=2)] = Field(
        0.3,
        description="For the layouts videos and images, which have no official split: share held out as test, or "
        "[val, test], such as [0.1, 0.2]; the rest is for training.",
    )
    splits: list[Split] | None = Field(
        None,
        description="Splits to use, of train, val and test, such as [test]; videos of the others are neither opened "
        "nor decoded. null uses all. Saves time where a protocol is dense and for the test split alone.",
    )
    downsample_fakes: int = Field(
        1,
        ge=1,
        description="Take one of so many fakes of the training split, spread over the videos that they were made from; "
        "the others are neither opened nor decoded. 5 balances DFDC. Validation and test keep every fake.",
    )
    downsample_seed: int = Field(0, description="Which fakes are taken: another seed draws others.")

    @property
    def val_and_test_share(self) -> tuple[float, float]:
        """What `test_share` says, where nobody published a split."""
        if isinstance(self.test_share, list):
            val, test = self.test_share
            return val, test
        return 0, self.test_share

    def contradictions(self) -> Iterator[str]:
        if sum(self.val_and_test_share) > 1:
            yield f"test_share: found {self.test_share}; the shares of val and test come to 1 at most"
