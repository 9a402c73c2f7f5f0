"""The runs of a store as one service sees them: every read, and every change with its effects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from sumgrad.trainer.record import states
from sumgrad.trainer.service.api.run_errors import RunNotFoundError
from sumgrad.trainer.service.api.run_filter import Cursor, RunFilter
from sumgrad.trainer.service.outputs.run_logs import RunLogs
from sumgrad.trainer.service.prometheus import Metrics
from sumgrad.trainer.service.queue.waiting_runs import WaitingRuns
from sumgrad.trainer.service.runs.stored_run import StoredRun
from sumgrad.trainer.service.runs.transitions import Change, Transition
from sumgrad.trainer.service.runs.watching import EVENTS_AT_ONCE, Watching
from sumgrad.trainer.service.store.run_store import RunStore
from sumgrad.trainer.service.store.store_errors import StoreError
from sumgrad.trainer.service.store.store_threads import StoreThreads
from sumgrad.trainer.service.takeover.instance import Instance
from sumgrad.trainer.v1 import run_pb2

P = ParamSpec("P")
T = TypeVar("T")


class Runs:
    """Lives on one event loop; the store works in threads of its own.

    Attributes:
        instance: this service; it looks after the runs that are stored under its name.
        queue: of the runs that it looks after.
        wake: set when something may start.
    """

    def __init__(
        self, store: RunStore, instance: Instance, metrics: Metrics, queue: WaitingRuns
    ) -> None:
        self.store = store
        self.instance = instance
        self.metrics = metrics
        self.queue = queue
        self.wake = asyncio.Event()
        self._threads = StoreThreads()
        self.read = self._threads.read
        self.watching = Watching(store, self._threads, queue)
        self.logs = RunLogs(self.directory)
        # Whether the queue may have missed a change.
        self._queue_is_stale = False

    @property
    def me(self) -> str:
        """The name of this service."""
        return self.instance.name

    def directory(self, run_id: str) -> Path:
        """Where a run's files lie."""
        return self.instance.state / "runs" / run_id

    async def get(self, run_id: str) -> StoredRun:
        """Raises RunNotFoundError."""
        stored = await self.read(self.store.get, run_id)
        if stored is None:
            raise RunNotFoundError(run_id)
        return stored

    async def view(self, run_id: str) -> run_pb2.Run:
        """A run as clients see it, with its place in the queue. Raises RunNotFoundError."""
        return self.queue.placed(await self.get(run_id)).run

    async def page(self, after: Cursor | None, limit: int, wanted: RunFilter) -> list[StoredRun]:
        """Runs as clients see them, by the time of their creation; see ``RunStore.page``."""
        page = await self.read(self.store.page, after, limit, wanted)
        return [self.queue.placed(stored) for stored in page]

    async def events(self, run_id: str, after: int) -> list[run_pb2.Event]:
        """The first events after this sequence number that the run has.

        Raises:
            RunNotFoundError
        """
        stored = await self.get(run_id)
        if after >= stored.sequence:
            return []
        return await self.read(self.store.events, run_id, after, EVENTS_AT_ONCE)

    async def mine(self, states: Collection[run_pb2.RunState] = states.OPEN) -> list[StoredRun]:
        """The runs in some states that this service looks after, oldest first."""
        return await self.read(self.store.open_runs, self.me, states)

    async def write(self, method: Callable[..., T], *arguments: object) -> T:
        """Call a method of the store that writes; one such call runs at a time."""
        try:
            return await self._threads.write(method, *arguments)
        except StoreError:
            self._queue_is_stale = True  # the change may have been stored all the same
            raise

    async def change(
        self,
        run_id: str,
        transition: Callable[Concatenate[StoredRun, P], Change],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Change:
        """Apply a transition to a run, see ``RunStore.change``, and announce what it changed.

        Raises:
            RunNotFoundError, and whatever the transition raises.
        """
        change = await self._changed(run_id, lambda stored: transition(stored, *args, **kwargs))
        await self.announce(change.stored, change.events)
        return change

    async def change_unlogged(self, run_id: str, transition: Transition) -> StoredRun:
        """The same for a change that the runner logs itself; the run as it is now."""
        stored = (await self._changed(run_id, transition)).stored
        await self.announce(stored)
        return stored

    async def _changed(self, run_id: str, transition: Transition) -> Change:
        change = await self.write(self.store.change, run_id, transition)
        if change is None:
            raise RunNotFoundError(run_id)
        return change

    async def announce(self, stored: StoredRun, events: Sequence[run_pb2.Event] = ()) -> None:
        """Pass a change on: to the queue, the metrics, the run's log and its watchers."""
        run = stored.run
        if stored.service == self.me:
            waited = self.queue.update(stored)
            if waited is not None:
                self.metrics.waited(waited)
        else:  # it was taken over, or its runner has called this service
            self.queue.forget(run.id)
        self.metrics.run(run)
        await self.logs.add_events(run, events)
        if run.state not in states.ACTIVE:
            self.wake.set()
        self.watching.announce(run.id, stored.sequence)

    def doubt_queue(self) -> None:
        """Have the queue read all runs again."""
        self._queue_is_stale = True

    async def settle_queue(self) -> None:
        """Read all runs into the queue again if it may have missed a change."""
        if not self._queue_is_stale:
            return
        self._queue_is_stale = False
        runs = await self.mine()
        self.queue.forget_all()
        for stored in runs:
            self.queue.update(stored)

    def stop_streams(self) -> None:
        """End every stream of events or log lines with the cursor from which it can go on."""
        self.watching.stop()
        self.logs.stop()

    def close(self) -> None:
        """Wait for what is under way."""
        self._threads.close()
        self.logs.close()
