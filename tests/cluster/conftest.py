"""What the tests on clusters share: the same workflow, run here and undisturbed."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster_run import make_local_run


@pytest.fixture(scope="session")
def local_run(tmp_path_factory) -> Path:
    """Folder in which the workflow has run on this machine."""
    return make_local_run(tmp_path_factory.mktemp("local"))
