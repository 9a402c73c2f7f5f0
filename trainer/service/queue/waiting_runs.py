"""The runs of one service as the queue sees them: in memory, and updated with every change."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp

from sumgrad.trainer.record import states
from sumgrad.trainer.service.queue import forecast, scheduling
from sumgrad.trainer.service.queue.scheduling import (
    NO_LIMITS,
    Decision,
    Running,
    UserLimits,
    Waiting,
)
from sumgrad.trainer.service.queue.usage import Usage
from sumgrad.trainer.service.runs.stored_run import StoredRun
from sumgrad.trainer.v1 import run_pb2

YIELD_SECONDS = 60.0
"""A run that is asked to stop is expected to do so within this time. One that takes longer still
stops after its step, but other runs are asked to make room as well."""

VIEW_SECONDS = 0.5
"""The least time between two computations of the places for those who ask."""


@dataclass
class _Entry:
    """One run.

    Attributes:
        since: when it began to wait, or to hold CPUs.
        started: ascends in the order of start; 0 while it waits.
        ends: when it expects to end if nothing stops it; None where that is not known.
        stopping: when it was asked to stop.
    """

    stored: StoredRun
    since: float
    started: int = 0
    ends: float | None = None
    stopping: float | None = None


@dataclass
class _View:
    """Every waiting run's place as it was computed last."""

    at: float = -math.inf
    stale: bool = True
    statuses: dict[str, run_pb2.QueueStatus] = field(default_factory=dict)


class WaitingRuns:
    """Not safe to use from several threads.

    Args:
        cores: see below, until the cluster has been asked.
        clock: seconds, never going back.
        wall_clock: seconds since 1970.
        preemption: whether runs give way to those of a higher priority.

    Attributes:
        cores: CPUs that runs can use, of all nodes, as the cluster last said; at least 1.
        limits: of each user.
    """

    def __init__(
        self,
        cores: int,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        limits: UserLimits = NO_LIMITS,
        preemption: bool = True,
    ) -> None:
        self.cores = cores
        self.limits = limits
        self._preemption = preemption
        self._clock = clock
        self._wall_clock = wall_clock
        self._usage = Usage(clock())
        self._entries: dict[str, _Entry] = {}
        # The owners of paused runs, by their ids.
        self._paused: dict[str, str] = {}
        self._starts = 0
        self._view = _View()
        self._held = ""

    def hold(self, reason: str) -> None:
        """Set why nothing can start now, whatever is free; empty if something can."""
        self._view.stale |= reason != self._held
        self._held = reason

    def update(self, stored: StoredRun) -> float | None:
        """Record a run's current state.

        Returns:
            How many seconds it has waited, if it has just been taken from the queue.
        """
        stored = _without_spec(stored)
        run, now = stored.run, self._clock()
        self._paused.pop(run.id, None)
        if run.state == run_pb2.RUN_STATE_PAUSED:
            self._paused[run.id] = run.owner
        before = self._entries.get(run.id)
        if run.state not in states.ACTIVE | {run_pb2.RUN_STATE_QUEUED}:
            self.forget(run.id)
            return None
        moved = before is None or _holds(before.stored) != _holds(stored)
        if before is None or moved:
            self._count_usage(now)
            entry = self._entries[run.id] = _Entry(stored, now)
            self._view.stale = True
            if _holds(stored):
                self._starts += 1
                entry.started = self._starts
        else:
            entry = before
            self._view.stale |= entry.stored.run.workers != run.workers
            entry.stored = stored
        if run.progress.step and math.isfinite(run.progress.seconds_left):
            entry.ends = now + run.progress.seconds_left
        return now - before.since if before and moved and _holds(stored) else None

    def forget(self, run_id: str) -> None:
        """Remove a run that neither waits nor works here, or no longer does."""
        self._count_usage(self._clock())
        self._view.stale |= self._entries.pop(run_id, None) is not None

    def forget_all(self) -> None:
        """Remove all runs; ``update`` brings back those that are still here."""
        self._count_usage(self._clock())
        self._entries.clear()
        self._paused.clear()

    def decide(self) -> Decision:
        """What starts and what gives way now."""
        now, cores = self._clock(), self.cores
        self._count_usage(now)
        for entry in self._entries.values():
            stops = bool(entry.stored.run.stop_requested or entry.stored.run.preempted_by)
            entry.stopping = (now if entry.stopping is None else entry.stopping) if stops else None
        waiting, running = self._waiting(cores), self._running(now, cores)
        usage = self._usage.cpu_seconds
        decision = scheduling.decide(waiting, running, cores, self.limits, usage, self._preemption)
        by_id = {run.id: run for run in waiting}
        order = [by_id[run_id] for run_id in decision.places]
        seconds = forecast.starts(order, running, cores, self.limits)
        statuses = {
            run_id: self._status(place, seconds.get(run_id))
            for run_id, place in decision.places.items()
        }
        self._view = _View(now, False, statuses)
        return decision

    def status(self, run_id: str) -> run_pb2.QueueStatus | None:
        """A run's place in the queue; None if it does not wait here."""
        entry = self._entries.get(run_id)
        if entry is None or _holds(entry.stored):
            return None
        if self._view.stale and self._clock() - self._view.at > VIEW_SECONDS:
            self.decide()
        return self._view.statuses.get(run_id)

    def placed(self, stored: StoredRun) -> StoredRun:
        """The run, with its place in the queue if it waits here."""
        waits = stored.run.state == run_pb2.RUN_STATE_QUEUED
        if waits and (status := self.status(stored.run.id)) is not None:
            stored.run.queue.CopyFrom(status)
        return stored

    def _status(self, place: scheduling.Place, seconds: float | None) -> run_pb2.QueueStatus:
        reason = self._held or place.reason or "it is being launched"
        status = run_pb2.QueueStatus(position=place.position, reason=reason)
        # When a cluster comes back is not known.
        if seconds is not None and not self._held:
            start = Timestamp()
            start.FromMilliseconds(round((self._wall_clock() + seconds) * 1000))
            status.estimated_start.CopyFrom(start)
        return status

    def waiting_of(self, owner: str) -> int:
        """How many of a user's runs are queued or paused."""
        queued = (e.stored.run.owner for e in self._entries.values() if not _holds(e.stored))
        return sum(each == owner for each in (*queued, *self._paused.values()))

    def cpus_of(self, owner: str, besides: str) -> int:
        """The CPUs that a user's runs hold, without one of them."""
        running = self._running(self._clock(), self.cores)
        return sum(run.cpus for run in running if run.owner == owner and run.id != besides)

    def _waiting(self, cores: int) -> list[Waiting]:
        return [
            Waiting(
                run_id,
                entry.stored.run.owner,
                entry.stored.run.priority,
                scheduling.run_cpus(entry.stored.run.workers, cores),
                entry.stored.number,
                None if entry.ends is None else entry.stored.run.progress.seconds_left,
            )
            for run_id, entry in self._entries.items()
            if not _holds(entry.stored)
        ]

    def _running(self, now: float, cores: int) -> list[Running]:
        return [
            Running(
                run_id,
                entry.stored.run.owner,
                entry.stored.run.priority,
                scheduling.run_cpus(entry.stored.run.workers, cores),
                entry.started,
                yielding=entry.stopping is not None and now - entry.stopping <= YIELD_SECONDS,
                # A run that is being launched has no runner yet that could be asked.
                preemptible=entry.stopping is None
                and entry.stored.run.state == run_pb2.RUN_STATE_RUNNING,
                seconds_left=_seconds_left(entry, now),
            )
            for run_id, entry in self._entries.items()
            if _holds(entry.stored)
        ]

    def _count_usage(self, now: float) -> None:
        held: Counter[str] = Counter()
        for run in self._running(now, self.cores):
            held[run.owner] += run.cpus
        self._usage.pass_time(now, held)


def differs(last: run_pb2.QueueStatus | None, now: run_pb2.QueueStatus) -> bool:
    """Whether a status is news to a watcher who was sent the last one."""
    return last is None or (last.position, last.reason) != (now.position, now.reason)


def _holds(stored: StoredRun) -> bool:
    return stored.run.state in states.ACTIVE


def _without_spec(stored: StoredRun) -> StoredRun:
    """The queue does not look at it, and it may be large."""
    run = run_pb2.Run()
    run.CopyFrom(stored.run)
    for name in ("spec", "labels", "warnings"):
        run.ClearField(name)
    return stored._replace(run=run)


def _seconds_left(entry: _Entry, now: float) -> float | None:
    if entry.stopping is not None:
        return 0.0  # to the end of a step
    return None if entry.ends is None else max(0.0, entry.ends - now)
