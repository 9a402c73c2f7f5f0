"""The calls that wait inside gRPC, and which of them are refused.

gRPC hands calls over one at a time, so a flood waits in its core, where the service does not see
it. A refusal costs nearly as much as an answer, and a caller that is refused at once calls again at
once. So calls beyond the limit are held, which costs nothing, and refused after that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

COUNT_SECONDS = 0.05
"""How long a count of the waiting calls is used."""

REFUSALS_PER_SECOND = 150
"""The more calls are held, the longer each is, so that refusals take little processor time."""

MAX_HOLD_SECONDS = 5.0

MAX_HELD = 20
"""Times the limit; calls beyond that are refused at once, so that what is held is bounded."""


class Backlog:
    """Lives on one event loop.

    Args:
        most: how many calls may wait.
        outstanding: counts all calls of the server that have no answer yet.
        clock: seconds.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        most: int,
        outstanding: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._most = most
        self._outstanding = outstanding
        self._clock = clock
        self._sleep = sleep
        self._taken = 0
        self._held = 0
        self._looked = float("-inf")
        self._waiting = 0
        self._surplus = 0

    def take(self, task: asyncio.Task[None]) -> None:
        """Record that a call no longer waits: this task answers it, until the task ends."""
        self._taken += 1
        task.add_done_callback(self._end)

    def _end(self, _task: asyncio.Task[None]) -> None:
        self._taken -= 1

    async def gives_way(self) -> bool:
        """Whether a call that was taken is to be refused; the call is held meanwhile.

        As many calls are held as waited beyond the limit at the last count. A held call is answered
        after all if the number of waiting calls has shrunk to half of the limit.
        """
        self._look()
        if self._surplus <= 0:
            return False
        self._surplus -= 1
        if self._held >= MAX_HELD * self._most:
            return True
        self._held += 1
        try:
            await self._sleep(min(self._held / REFUSALS_PER_SECOND, MAX_HOLD_SECONDS))
        finally:
            self._held -= 1
        self._look()
        return self._waiting > self._most // 2

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked >= COUNT_SECONDS:
            self._looked = now
            self._waiting = self._outstanding() - self._taken
            self._surplus = self._waiting - self._most
