"""When is a call that failed made again? Decisions only; no I/O."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from sumgrad.trainer.client.errors import BusyError, UnreachableError

CALL_WAITS = (0.1, 0.3, 0.9)
"""Seconds before a call is made again that got no answer or found the service busy."""

STREAM_WAITS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, *[5.0] * 24)
"""Seconds before a stream that broke is begun again: two minutes, in which a service restarts."""


class Retry:
    """The waits of one call.

    Args:
        kinds: of errors after which the call is safe to make again.
        spread: draws a factor of each wait, so that not all come back at once.
    """

    def __init__(
        self,
        waits: Sequence[float],
        kinds: tuple[type[Exception], ...],
        spread: Callable[[], float] = lambda: random.uniform(0.5, 1),
    ) -> None:
        self._waits = waits
        self._kinds = kinds
        self._spread = spread
        self._made = 0

    def seconds(self, error: Exception) -> float:
        """How long to wait after this error; raises it where that would not help."""
        if not isinstance(error, self._kinds) or self._made == len(self._waits):
            raise error
        self._made += 1
        return self._waits[self._made - 1] * self._spread()

    def reset(self) -> None:
        """It went well: the next error is the first."""
        self._made = 0


def of_call(request: Any) -> Retry:
    """The retry of a call that is not a stream.

    A busy service has done nothing. A lost answer does no harm where a request id was sent.
    """
    safe = bool(getattr(request, "request_id", ""))
    return Retry(CALL_WAITS, (BusyError, UnreachableError) if safe else (BusyError,))


def of_stream() -> Retry:
    """The retry of a stream."""
    return Retry(STREAM_WAITS, (BusyError, UnreachableError))
