"""One bound on several waits together."""

from __future__ import annotations

import time

from sumgrad.trainer.client.errors import WaitTimeoutError


class Deadline:
    """So many seconds from now on, or none."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._end = float("inf") if seconds is None else time.monotonic() + seconds

    def bounded(self, seconds: float) -> float:
        """What is left of a wait until the deadline. Raises WaitTimeoutError after it."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise WaitTimeoutError(f"the run has not got there within {self._seconds} s")
        return min(seconds, left)

    def check(self) -> None:
        """Raises WaitTimeoutError if it is over."""
        self.bounded(0)


UNBOUNDED = Deadline(None)
