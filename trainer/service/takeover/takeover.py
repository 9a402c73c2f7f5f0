"""Takes over the runs of services that have ended."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable

from sumgrad.trainer.record import states
from sumgrad.trainer.service.api.run_errors import RunNotFoundError
from sumgrad.trainer.service.runs import transitions
from sumgrad.trainer.service.runs.runs import Runs
from sumgrad.trainer.service.runs.stored_run import StoredRun
from sumgrad.trainer.v1 import run_pb2

RECONCILE_SECONDS = 10.0
"""Between checks for services that have ended. Their runs are taken over at the second check: a
service that is started again before that takes them over itself, at the address that their runners
know."""


class Takeover:
    """Takes over runs for this service.

    Args:
        is_over: whether the present attempt of a run has ended, as far as is known.
    """

    def __init__(self, runs: Runs, is_over: Callable[[run_pb2.Run], Awaitable[bool]]) -> None:
        self._runs = runs
        self._is_over = is_over
        # When the services were last checked, and which of them were gone then.
        self._checked = time.monotonic()
        self._gone: set[str] = set()

    async def begin(self) -> None:
        """Take over the runs of services that are gone, at the start of this one."""
        for service in await self._gone_services():
            await self._take_over(service)

    async def go_on(self) -> None:
        """Take over the runs of services that have been gone for a while."""
        now = time.monotonic()
        if now - self._checked < RECONCILE_SECONDS:
            return
        gone = await self._gone_services()
        for service in gone & self._gone:
            await self._take_over(service)
        self._checked, self._gone = now, gone

    async def end(self) -> None:
        """Cancel the runs of a command that ends; other services do not take those over."""
        if self._runs.instance.temporary:
            for stored in await self._runs.mine():
                await self._end(stored, run_pb2.RUN_STATE_CANCELLED, "its command ended")

    async def _gone_services(self) -> set[str]:
        others = await self._runs.read(self._runs.store.services) - {self._runs.me}
        return {
            other for other in others if await self._runs.write(self._runs.instance.is_gone, other)
        }

    async def _take_over(self, gone: str) -> None:
        """Take over the runs of a service, or end them if it was a command's."""
        runs = await self._runs.read(self._runs.store.open_runs, gone)
        if self._runs.instance.was_temporary(gone):
            for stored in runs:
                await self._end(stored, run_pb2.RUN_STATE_FAILED, "its command was killed")
        elif not self._runs.instance.temporary:
            for stored in await self._runs.write(
                self._runs.store.adopt_waiting, gone, self._runs.me
            ):
                await self._runs.announce(stored)
            for stored in runs:
                if stored.run.state not in states.WAITING:
                    await self._adopt(stored)

    async def _adopt(self, stored: StoredRun) -> None:
        """Take over a run, and queue it again if its job is known to have ended."""
        over = await self._is_over(stored.run)
        with contextlib.suppress(RunNotFoundError):  # it has ended elsewhere and was deleted
            await self._runs.change(
                stored.run.id, transitions.adopt, stored.service, self._runs.me, over
            )

    async def _end(self, stored: StoredRun, state: run_pb2.RunState, message: str) -> None:
        """End a run because its command has ended."""
        with contextlib.suppress(RunNotFoundError):
            await self._runs.change(stored.run.id, transitions.end, stored.service, state, message)
