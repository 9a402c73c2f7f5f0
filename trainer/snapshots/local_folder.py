"""A folder of this machine, whose files appear whole and survive a loss of power."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sumgrad.trainer.durable_file import durable_file, sync_folder
from sumgrad.workers.host.allowed_paths import ANYWHERE, AllowedPaths


class LocalFolder:
    """A Folder at this path; the first write makes it.

    Args:
        roots: outside of which nothing is read or written.
    """

    def __init__(self, path: Path, roots: AllowedPaths = ANYWHERE) -> None:
        self._path = path
        self._roots = roots

    def place(self, name: str) -> str:
        return str(self._path / name)

    def names(self) -> list[str]:
        try:
            with self._roots.pinned(self._path) as folder:
                return [path.name for path in folder.iterdir()]
        except FileNotFoundError:
            return []

    def size(self, name: str) -> int:
        with self._roots.pinned(self._path / name) as file:
            return _size(file)

    def read(self, name: str) -> bytes:
        # A pipe raises, which could take for ever. Files of /proc say that they have 0 bytes, and
        # some of them go on without end.
        with self._roots.pinned(self._path / name) as file:
            return file.read_bytes() if _size(file) else b""

    def write(self, name: str, pieces: Sequence[memoryview]) -> None:
        self._make(self._path)
        with self._roots.pinned(self._path) as folder, durable_file(folder / name) as file:
            for piece in pieces:
                _write(file.fileno(), piece)

    def delete(self, names: Sequence[str]) -> None:
        if not names:
            return
        with self._roots.pinned(self._path) as folder:
            for name in names:
                with suppress(FileNotFoundError):
                    (folder / name).unlink()
            sync_folder(folder)

    def _make(self, path: Path) -> None:
        if not path.is_dir():
            self._make(path.parent)
            with self._roots.pinned(path.parent) as parent:
                (parent / path.name).mkdir(exist_ok=True)
                sync_folder(parent)


def _size(file: Path) -> int:
    found = file.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file")
    return found.st_size


def _write(descriptor: int, piece: memoryview) -> None:
    # One call may write less than all: Linux stops at 2 GiB.
    while piece:
        piece = piece[os.write(descriptor, piece) :]
