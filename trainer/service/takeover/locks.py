"""Named locks that a process holds for as long as it lives, however it ends."""

from __future__ import annotations

from typing import Protocol


class Locks(Protocol):
    """Held by this process once asked for; others can ask whether anybody holds one."""

    def hold(self, name: str) -> None:
        """Take a lock that nobody else wants, or make sure that it is still held."""

    def is_free(self, name: str) -> bool:
        """Whether no living process holds the lock."""

    def close(self) -> None:
        """Let go of the locks."""
