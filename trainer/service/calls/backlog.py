"""The calls that wait inside gRPC, and which of them give way.

gRPC hands calls over one at a time, so a flood waits in its core, where the service does not see
it. A refusal costs nearly what an answer does, and who is refused at once is back at once; so those
beyond the limit are held, which costs nothing, and refused then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

LOOK_SECONDS = 0.05
"""How old a count may be."""

REFUSALS_A_SECOND = 150
"""The more are held, the longer each, so that refusals take a small part of the processor."""

LONGEST_HOLD_SECONDS = 5.0

MOST_HELD = 20
"""Times the limit; those beyond are refused at once, so that what is held is bounded."""


class Backlog:
    """Lives on one event loop.

    Args:
        most: so many may wait.
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
        """A call waits no more: it is this task's until that ends, however it does."""
        self._taken += 1
        task.add_done_callback(self._end)

    def _end(self, _task: asyncio.Task[None]) -> None:
        self._taken -= 1

    async def gives_way(self) -> bool:
        """Whether a call that was taken is to be refused; who asks is held meanwhile.

        As many are held as wait beyond the limit when that is looked up. A held call is answered
        after all if what waits has shrunk to half of the limit.
        """
        self._look()
        if self._surplus <= 0:
            return False
        self._surplus -= 1
        if self._held >= MOST_HELD * self._most:
            return True
        self._held += 1
        try:
            await self._sleep(min(self._held / REFUSALS_A_SECOND, LONGEST_HOLD_SECONDS))
        finally:
            self._held -= 1
        self._look()
        return self._waiting > self._most // 2

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._waiting = self._outstanding() - self._taken
            self._surplus = self._waiting - self._most
