"""The location of a run's snapshots."""

from __future__ import annotations

from pathlib import Path


def snapshots_of(directory: Path, shared: str | None) -> str:
    """
    Args:
        directory: the run's own folder, which is named as the run is.
        shared: a location for the snapshots of several runs; None for the run's own folder.
    """
    if shared is None:
        return str(directory / "snapshots")
    return f"{shared.rstrip('/')}/{directory.name}"
