"""Reading and writing only where the operator allows it, whatever links lead elsewhere."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class AllowedPaths:
    """Folders with all that lies below them.

    Attributes:
        folders: absolute paths; None allows every path that the process can open.
    """

    folders: tuple[str, ...] | None = None

    @contextmanager
    def pinned(self, path: Path) -> Iterator[Path]:
        """A path to the file or folder that is there now, after a check that it lies inside.

        The path leads to the same file until the context ends, even if links on the way change.

        Raises:
            OSError: nothing is there, or it lies outside.
        """
        if self.folders is None:
            yield path
            return
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)  # neither reads nor waits
        try:
            pinned = Path(f"/proc/self/fd/{descriptor}")
            if not self.contain(pinned.readlink()):
                raise PermissionError(errno.EACCES, "It lies outside of what the operator allows")
            yield pinned
        finally:
            os.close(descriptor)

    def contain(self, place: Path) -> bool:
        """Whether a path without links lies inside."""
        if self.folders is None:
            return True
        return any(place.is_relative_to(os.path.realpath(root)) for root in self.folders)


ANYWHERE = AllowedPaths()
