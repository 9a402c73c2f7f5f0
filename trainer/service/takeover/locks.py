"""Named locks that a process holds for as long as it lives, however it ends."""

from __future__ import annotations

from typing import Protocol


class Locks(Protocol):
    """Held by this process from ``hold`` on; other processes can ask whether one is held."""

    def hold(self, name: str) -> None:
        """Take a lock that no other process takes, or make sure that it is still held."""

    def is_free(self, name: str) -> bool:
        """Whether the process that held the lock has ended."""

    def close(self) -> None:
        """Release the locks."""
