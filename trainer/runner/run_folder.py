"""Where a runner keeps a run's files on its own node."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from sumgrad.trainer.host import state_directory
from sumgrad.trainer.v1 import runner_pb2
from sumgrad.trainer.weights.weight_file import WEIGHTS


@dataclass(frozen=True)
class RunFolder:
    """A run's folder.

    Attributes:
        path: it is named after the run.
        shared: it is the very folder that the service has.
    """

    path: Path
    shared: bool

    @classmethod
    def of(cls, taken: runner_pb2.TakeRunResponse) -> RunFolder:
        """The service's folder for the run if this node reaches it, else one of this node's.

        A folder of the same path is the service's only if it has the same inode number.
        """
        theirs = Path(taken.directory)
        try:
            shared = theirs.stat().st_ino == taken.directory_inode
        except OSError:
            shared = False
        if shared:
            return cls(theirs, shared=True)
        return cls(state_directory() / "scratch" / theirs.name, shared=False)

    @property
    def weights(self) -> Path:
        return self.path / WEIGHTS

    @property
    def journal(self) -> Path:
        """Of the faults that fired."""
        return self.path / "faults.jsonl"

    def clear(self) -> None:
        """Delete the folder unless it is the service's."""
        if not self.shared:
            shutil.rmtree(self.path, ignore_errors=True)
