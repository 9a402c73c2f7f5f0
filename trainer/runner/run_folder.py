"""Where a runner keeps a run's files on its own node."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from sumgrad.trainer.host import state_directory
from sumgrad.trainer.v1 import runner_pb2
from sumgrad.trainer.weights.weight_file import WEIGHTS


@dataclass(frozen=True)
class Workplace:
    """A run's folder.

    Attributes:
        folder: named after the run.
        shared: it is the very folder that the service has.
    """

    folder: Path
    shared: bool

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS

    @property
    def journal(self) -> Path:
        """Of the faults that fired."""
        return self.folder / "faults.jsonl"

    def clear(self) -> None:
        """Delete what nobody needs any more, where the service has its own."""
        if not self.shared:
            shutil.rmtree(self.folder, ignore_errors=True)


def workplace(assignment: runner_pb2.TakeRunResponse) -> Workplace:
    """The service's folder for the run where it is in reach here, else one of this node's.

    A folder of the same path is not enough: it is the service's if it has its number too.
    """
    theirs = Path(assignment.directory)
    try:
        shared = theirs.stat().st_ino == assignment.directory_inode
    except OSError:
        shared = False
    if shared:
        return Workplace(theirs, shared=True)
    return Workplace(state_directory() / "scratch" / theirs.name, shared=False)
