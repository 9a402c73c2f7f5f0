"""Streams of a run's events: without a gap, from any cursor, and read once for all watchers."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from itertools import islice
from typing import NamedTuple

from sumgrad.trainer.record import states
from sumgrad.trainer.service.api.run_errors import (
    CursorExpiredError,
    RunNotFoundError,
    ServiceStoppingError,
)
from sumgrad.trainer.service.queue.waiting_runs import WaitingRuns, differs
from sumgrad.trainer.service.runs.stored_run import StoredRun
from sumgrad.trainer.service.store.run_store import RunStore
from sumgrad.trainer.service.store.store_threads import StoreThreads
from sumgrad.trainer.v1 import run_pb2

EVENTS_AT_ONCE = 500
"""Events that a stream reads at a time, and holds at most until its reader takes them."""

LOOK_UP_SECONDS = 1.0
"""Between look-ups of a run that may change at another service."""


class Heartbeat(NamedTuple):
    """Sent when nothing has happened for a while since the event of this sequence number."""

    sequence: int


class Feed:
    """The newest events of one run, for all its watchers."""

    def __init__(self, run_id: str, store: RunStore, threads: StoreThreads) -> None:
        self.watchers = 0
        self._run_id = run_id
        self._store = store
        self._threads = threads
        # Consecutive events, and the highest sequence number that was announced.
        self._kept: deque[run_pb2.Event] = deque(maxlen=EVENTS_AT_ONCE)
        self._announced = 0
        self._grown = asyncio.Event()
        self._reading = asyncio.Lock()
        self._looked_up = float("-inf")

    def announce(self, sequence: int) -> None:
        """Record that the run has events up to this one."""
        self._announced = max(self._announced, sequence)
        self._looked_up = float("-inf")
        self.wake()

    def wake(self) -> None:
        """End every wait."""
        self._grown.set()
        self._grown = asyncio.Event()

    async def grown(self, after: int, seconds: float) -> None:
        """Wait until there may be a later event, for at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                if self._announced <= after:
                    await self._grown.wait()

    async def page(self, after: int) -> list[run_pb2.Event]:
        """The events after this sequence number; empty if there are none now.

        Raises:
            RunNotFoundError: the run was deleted.
        """
        async with self._reading:
            return self._recall(after) or await self._read(after)

    def _recall(self, after: int) -> list[run_pb2.Event]:
        if not self._kept or after + 1 < self._kept[0].sequence:
            return []
        return list(islice(self._kept, after + 1 - self._kept[0].sequence, None))

    async def _read(self, after: int) -> list[run_pb2.Event]:
        now = asyncio.get_running_loop().time()
        # What is announced is always read: ``grown`` does not wait for it.
        known = self._announced <= after and self._is_last(after)
        if known and now - self._looked_up < LOOK_UP_SECONDS / 2:
            return []
        events = await self._threads.read(self._store.events, self._run_id, after, EVENTS_AT_ONCE)
        if events:
            self._keep(events)
        elif await self._threads.read(self._store.get, self._run_id) is None:
            raise RunNotFoundError(self._run_id)
        else:
            self._looked_up = now
        return events

    def _is_last(self, after: int) -> bool:
        return not self._kept or after >= self._kept[-1].sequence

    def _keep(self, events: list[run_pb2.Event]) -> None:
        """Keep the events that are newer than those that are kept."""
        last = self._kept[-1].sequence if self._kept else 0
        if events[-1].sequence <= last:
            return
        if events[0].sequence != last + 1:
            self._kept.clear()
        self._kept.extend(events)


class Watching:
    """All streams of one service. Lives on one event loop."""

    def __init__(self, store: RunStore, threads: StoreThreads, queue: WaitingRuns) -> None:
        self._store = store
        self._threads = threads
        self._queue = queue
        self._feeds: dict[str, Feed] = {}
        self._stopping = False

    def announce(self, run_id: str, sequence: int) -> None:
        """Wake the watchers of a run that this service has changed."""
        if run_id in self._feeds:
            self._feeds[run_id].announce(sequence)

    def stop(self) -> None:
        """End every stream with the cursor from which it can go on at another service."""
        self._stopping = True
        for feed in self._feeds.values():
            feed.wake()

    async def watch(
        self, run_id: str, after: int | None, heartbeat: float
    ) -> AsyncGenerator[StoredRun | run_pb2.Event | run_pb2.QueueStatus | Heartbeat, None]:
        """Every event in order, until the run has ended.

        While the run waits, its place in the queue comes in between whenever that changes.

        Args:
            after: the sequence number of the last event that the caller has; without it, the run
                as it is comes first, and then what follows.
            heartbeat: seconds without an event after which a ``Heartbeat`` is sent.

        Raises:
            RunNotFoundError, CursorExpiredError, ServiceStoppingError
        """
        clock = asyncio.get_running_loop().time
        with self._feed(run_id) as feed:
            stored = await self._threads.read(self._store.get, run_id)
            if stored is None:
                raise RunNotFoundError(run_id)
            sent = None
            if after is None:
                after = stored.sequence
                sent = self._queue.placed(stored).run.queue
                yield stored
            elif after > stored.sequence:
                raise CursorExpiredError(run_id, after, stored.sequence)
            over, spoken = states.ended(stored.run) and after == stored.sequence, clock()
            while not over:
                if self._stopping:
                    raise ServiceStoppingError(run_id, after)
                events = await feed.page(after)
                for event in events:
                    yield event
                    after, spoken = event.sequence, clock()
                    over = event.state_change.state in states.ENDED
                if events:
                    continue
                place = self._queue.status(run_id)
                if place is not None and differs(sent, place):
                    yield place
                    spoken = clock()
                sent = place
                if clock() - spoken >= heartbeat:
                    yield Heartbeat(after)
                    spoken = clock()
                await feed.grown(after, min(LOOK_UP_SECONDS, heartbeat))

    @contextlib.contextmanager
    def _feed(self, run_id: str) -> Iterator[Feed]:
        """The run's feed, which is kept for as long as the run has watchers."""
        feed = self._feeds.setdefault(run_id, Feed(run_id, self._store, self._threads))
        feed.watchers += 1
        try:
            yield feed
        finally:
            feed.watchers -= 1
            if not feed.watchers:
                del self._feeds[run_id]
