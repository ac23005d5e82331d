"""Settings of the stage `landmarks`."""

from __future__ import annotations

from pydantic import Field

from preprocess.running.settings import Settings


class LandmarksSettings(Settings):
    """How landmarks are found."""

    batch_size: int = Field(
        256,
        ge=1,
        description="Crops evaluated at once, fewer when they are large; the points do not depend on it.",
    )
