"""Reading a config file as it stands, for whoever looks up a block of it by hand."""

from __future__ import annotations

from pathlib import Path

import yaml

from preprocess.running.cli import UserError


def read_config(path: Path) -> dict:
    """What a config file says, as it stands there.

    Raises:
        UserError: The file is absent, or is not YAML.
    """
    try:
        return yaml.safe_load(path.read_text()) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"cannot read the config {path}: {error}; name the file after --config") from error
