"""Settings of the stage `crops`, and how a margin around a face box is written."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from preprocess.face.margin import MARGIN
from preprocess.running.settings import Settings


def _number(margin: str | float) -> str | float:
    """The number in a text such as `0.5`: written either way, it is the same setting."""
    return margin if isinstance(margin, float) or margin.endswith("px") else float(margin)


# a fraction, or a text such as 30px
Margin = Annotated[
    Annotated[float, Field(ge=0)] | Annotated[str, Field(pattern=f"^{MARGIN}$")], AfterValidator(_number)
]


class CropsSettings(Settings):
    """How much of the frame is kept around a face."""

    margin: Margin = Field(
        0.5,
        description="Room around the box on each side: a fraction of its width and height such as 0.5, or pixels such "
        "as '30px'.",
    )
    max_size_px: int | None = Field(
        None,
        ge=16,
        description="Longer side above which a crop is reduced (area resampling); null keeps every pixel.",
    )
