"""A folder of this machine, whose files appear whole and survive a loss of power."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

PARTIAL = ".partial"
"""What the name of a file ends in while it is being written."""


class LocalFolder:
    """A Folder at this path; the first write makes it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def place(self, name: str) -> str:
        return str(self._path / name)

    def names(self) -> list[str]:
        try:
            return [path.name for path in self._path.iterdir()]
        except FileNotFoundError:
            return []

    def size(self, name: str) -> int:
        found = (self._path / name).stat()
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "Not a regular file")
        return found.st_size

    def read(self, name: str) -> bytes:
        # A pipe raises, which could take for ever. Files of /proc say that they have 0 bytes, and
        # some of them go on without end.
        return (self._path / name).read_bytes() if self.size(name) else b""

    def write(self, name: str, pieces: Sequence[memoryview]) -> None:
        _make(self._path)
        partial = self._path / (name + PARTIAL)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            for piece in pieces:
                _write(descriptor, piece)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        partial.replace(self._path / name)
        _sync(self._path)

    def delete(self, names: Sequence[str]) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                (self._path / name).unlink()
        if names:
            _sync(self._path)


def _write(descriptor: int, piece: memoryview) -> None:
    # One call may write less than all: Linux stops at 2 GiB.
    while piece:
        piece = piece[os.write(descriptor, piece) :]


def _make(path: Path) -> None:
    if not path.is_dir():
        _make(path.parent)
        path.mkdir(exist_ok=True)
        _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
