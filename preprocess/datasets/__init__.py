"""One module per published layout; each reads its tree exactly as the owners distribute it.

To add a layout, write a module with `find_videos(root, dataset, settings) -> list[RawVideo]` and name it in `LAYOUTS`
with what it implies; the config, the check for leaks and the synthetic collections read it there.

May import: `store`, `settings`, `running`, `video`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from preprocess.settings.index import IndexSettings

if TYPE_CHECKING:
    from preprocess.datasets.raw import RawVideo


@dataclass(frozen=True)
class Layout:
    """What the layout of a collection implies.

    Attributes:
        module: Imported when videos are looked for: planning asks for the rest alone.
        published: The collection is a published one, whose names of videos, sources and people mean the same in every
            copy. In folders of one's own the name 001.mp4 says nothing.
        official_splits: Its owners say what is to be tested on; else a share is drawn.
        rendered: `preprocess.synthetic` renders collections that lie like this.
    """

    module: str
    published: bool = False
    official_splits: bool = False
    rendered: bool = False

    def find_videos(self, root: Path, dataset: str, settings: IndexSettings) -> list[RawVideo]:
        """Every video of a collection, as the layout's module finds them."""
        return importlib.import_module(self.module).find_videos(root, dataset, settings)


LAYOUTS = {
    "faceforensics": Layout("preprocess.datasets.faceforensics", published=True, official_splits=True, rendered=True),
    "celebdf": Layout("preprocess.datasets.celebdf", published=True, official_splits=True, rendered=True),
    "dfdc": Layout("preprocess.datasets.dfdc", published=True, official_splits=True, rendered=True),
    "videos": Layout("preprocess.datasets.videos"),
    "images": Layout("preprocess.datasets.images"),
}
