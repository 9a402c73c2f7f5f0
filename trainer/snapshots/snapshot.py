"""A snapshot, and the errors of saving and reading one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sumgrad.layers.base.arrays import Array


@dataclass(frozen=True)
class Snapshot:
    """A training run between two steps.

    Attributes:
        step: updates that have been applied.
        arrays: float32 arrays by name, for example the weights and the update rule's state.
        document: everything else, as plain data: None, bool, int, float, str, list and dict with
            keys of type str.
    """

    step: int
    arrays: dict[str, Array]
    document: dict[str, Any]


class SnapshotError(Exception):
    """A snapshot could not be written or read; the message is one sentence for the user."""


class DamagedSnapshotError(SnapshotError):
    """The files exist but differ from what was written."""


class UnreachableError(SnapshotError):
    """The location cannot be read at the moment, so its content is unknown."""


class NotDeletedError(SnapshotError):
    """The snapshot was saved, but older ones could not be deleted."""
