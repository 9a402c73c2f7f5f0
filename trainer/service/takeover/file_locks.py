"""Locks on files of a folder: the kernel releases them when the process ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TextIO


class FileLocks:
    """For processes of one host that share the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._held: dict[str, TextIO] = {}

    def hold(self, name: str) -> None:
        if name not in self._held:
            file = self._path(name).open("w")
            fcntl.flock(file, fcntl.LOCK_EX)
            self._held[name] = file

    def is_free(self, name: str) -> bool:
        try:
            descriptor = os.open(self._path(name), os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            # Shared, so that several may ask at once.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        self._path(name).unlink(missing_ok=True)
        return True

    def close(self) -> None:
        for name, file in self._held.items():
            self._path(name).unlink(missing_ok=True)
            file.close()
        self._held.clear()

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.lock"
