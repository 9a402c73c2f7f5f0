"""Where snapshots lie: a folder of this machine, or one of an object store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from sumgrad.trainer.extras import needs
from sumgrad.trainer.snapshots.local_folder import LocalFolder
from sumgrad.trainer.snapshots.snapshot import SnapshotError
from sumgrad.workers.host.allowed_paths import ANYWHERE, AllowedPaths


class Folder(Protocol):
    """Files by name. Every method raises OSError, and FileNotFoundError for a missing file."""

    def place(self, name: str) -> str:
        """The file's path or address, for messages."""
        ...

    def names(self) -> list[str]:
        """Of all files; none if the folder is missing."""
        ...

    def size(self, name: str) -> int:
        """In bytes."""
        ...

    def read(self, name: str) -> bytes: ...

    def write(self, name: str, pieces: Sequence[memoryview]) -> None:
        """When this returns, the file is there whole and survives a loss of power.

        Until then there is no file of this name, or the one before.
        """
        ...

    def delete(self, names: Sequence[str]) -> None:
        """When this returns, the files stay deleted; missing ones are none the worse."""
        ...


def open_folder(location: str, roots: AllowedPaths = ANYWHERE) -> Folder:
    """
    Args:
        location: a path, or an address that fsspec knows, such as ``s3://bucket/folder``.
        roots: where paths may lead; addresses lead nowhere on this machine.

    Raises:
        SnapshotError: fsspec does not know such addresses, or what it needs is not installed.
    """
    for scheme in ("file://", "local://"):
        location = location.removeprefix(scheme)
    if "://" not in location:
        return LocalFolder(Path(location), roots)
    try:
        # Here, because a base installation has no fsspec, and paths need none.
        from sumgrad.trainer.snapshots.object_folder import ObjectFolder

        return ObjectFolder(location)
    except (ImportError, ValueError) as error:
        if needed := needs(error):
            raise SnapshotError(f"{location} {needed}; or give a path.") from error
        raise SnapshotError(
            f"No snapshots can be kept in {location} ({error}): install what it needs, or give a "
            f"path."
        ) from error
