"""Names the services that share one run store, and says which of them have ended.

Every service holds a lock of its own name for as long as it lives. So a service that starts can
tell which runs have lost theirs.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from sumgrad.trainer.service.takeover.locks import Locks

_TEMPORARY = "command"
_LASTING = "service"


class Instance:
    """This service's name and lock.

    Args:
        state: the folder of the runs' files.
        temporary: the service lives for one command.
        locks: shared by all services of the run store.
    """

    def __init__(self, state: Path, temporary: bool, locks: Locks) -> None:
        self.state = state
        self.temporary = temporary
        self.name = f"{_TEMPORARY if temporary else _LASTING}-{secrets.token_hex(4)}"
        self._locks = locks
        self.live()

    def live(self) -> None:
        """Hold the lock, also after the locks were lost."""
        self._locks.hold(self.name)

    def is_gone(self, name: str) -> bool:
        """Whether the service of that name has ended."""
        return self._locks.is_free(name)

    def was_temporary(self, name: str) -> bool:
        """Whether the service of that name lived for one command."""
        return name.startswith(_TEMPORARY)
