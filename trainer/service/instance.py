"""Which service looks after which run, when several share one state folder.

Every service holds a lock on a file of its own for as long as it lives; the kernel lets go of the
lock however the service ends. So a service that starts can tell whose runs nobody looks after.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path

_TEMPORARY = "command"
_LASTING = "service"


class Instance:
    """This service's name and lock.

    Args:
        state: the folder that services share.
        temporary: the service lives for one command.
    """

    def __init__(self, state: Path, temporary: bool) -> None:
        self.state = state
        self.temporary = temporary
        self.name = f"{_TEMPORARY if temporary else _LASTING}-{secrets.token_hex(4)}"
        self._folder = state / "services"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = self._path(self.name).open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def is_gone(self, name: str) -> bool:
        """Whether the service of that name has ended."""
        try:
            descriptor = os.open(self._path(name), os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        self._path(name).unlink(missing_ok=True)
        return True

    def was_temporary(self, name: str) -> bool:
        """Whether the service of that name lived for one command."""
        return name.startswith(_TEMPORARY)

    def close(self) -> None:
        self._path(self.name).unlink(missing_ok=True)
        self._file.close()

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.lock"
