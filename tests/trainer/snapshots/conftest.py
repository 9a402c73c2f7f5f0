"""What the tests of snapshots share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the snapshots of a run go."""
    return tmp_path / "runs" / "r-1"
