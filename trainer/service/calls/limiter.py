"""A limit on how many calls are under way at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class TooManyCallsError(RuntimeError):
    """As many calls of this kind are under way as may be."""

    def __init__(self, most: int, what: str) -> None:
        super().__init__(f"the service has {most} {what} under way; try again a little later")


class Limiter:
    """Lives on one event loop.

    Args:
        most: how many may be under way.
        what: what they are called in the error.
    """

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._under_way = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count one for as long as the block lasts.

        Raises:
            TooManyCallsError
        """
        if self._under_way >= self._most:
            raise TooManyCallsError(self._most, self._what)
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
