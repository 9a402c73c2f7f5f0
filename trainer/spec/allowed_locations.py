"""The folders into which the paths of a specification may lead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sumgrad.trainer.v1 import runner_pb2
from sumgrad.workers.host.allowed_paths import ANYWHERE, AllowedPaths


@dataclass(frozen=True)
class SpecRoots:
    """The roots of ``data.path``, ``model.start_from`` and ``snapshots.location``."""

    data: AllowedPaths = ANYWHERE
    checkpoints: AllowedPaths = ANYWHERE
    snapshots: AllowedPaths = ANYWHERE

    def message(self) -> runner_pb2.Roots | None:
        """The message for a runner; None if paths may lead anywhere."""
        if self.data.folders is None or self.snapshots.folders is None:
            return None
        return runner_pb2.Roots(data=self.data.folders, snapshots=self.snapshots.folders)

    @classmethod
    def of(cls, data: Iterable[str], snapshots: Iterable[str]) -> SpecRoots:
        """
        Args:
            data: folders of data sets and checkpoints.
            snapshots: folders of snapshots and checkpoints.
        """
        data, snapshots = tuple(data), tuple(snapshots)
        return cls(AllowedPaths(data), AllowedPaths(data + snapshots), AllowedPaths(snapshots))
