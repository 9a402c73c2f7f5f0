"""Folders of snapshots, and what lies in them."""

from __future__ import annotations

import struct
from pathlib import Path

from sumgrad.trainer.snapshots.snapshot_store import SnapshotStore


def bits(number: float) -> bytes:
    return struct.pack("<d", number)


def store_at(folder: Path, keep: int = 2) -> SnapshotStore:
    return SnapshotStore(str(folder), keep)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def pair(folder: Path, step: int) -> tuple[Path, Path]:
    """The arrays and the manifest of the only snapshot of a step."""
    (arrays,) = folder.glob(f"step-{step:012d}-*.safetensors")
    (described,) = folder.glob(f"step-{step:012d}-*.json")
    return arrays, described
