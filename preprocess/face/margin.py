"""Room around a face box, as the settings write it: a fraction such as `0.5`, or pixels of the frame such as `30px`."""

from __future__ import annotations

import re

from preprocess.running.cli import UserError

MARGIN = r"(\d+(?:\.\d+)?)(px)?"


def parse_margin(margin: str | float) -> tuple[float, str]:
    """Read a margin such as `0.5` (of the box) or `30px`.

    Returns:
        The number and its unit, `box` or `px`.

    Raises:
        UserError: It is neither.
    """
    if not isinstance(margin, str):
        return float(margin), "box"
    match = re.fullmatch(MARGIN, margin)
    if match is None:
        raise UserError(f"margin: found {margin!r}; expected a fraction of the box such as 0.5, or pixels such as 30px")
    return float(match[1]), match[2] or "box"
