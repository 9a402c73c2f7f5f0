"""The runs of one service as the queue sees them: kept in memory, told of every change."""

from __future__ import annotations

import math
import time
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
"""A run that was told to stop is counted on to do so for this long. It still stops whenever its
step is over; but others are asked too."""

VIEW_SECONDS = 0.5
"""Places are worked out again for those who ask at most this often."""


@dataclass
class _Entry:
    """What the queue knows of one run.

    Attributes:
        since: when it began to wait, or to hold CPUs.
        started: ascends in the order of start; 0 while it waits.
        ends: when it expects to end, were it going on; None where that is not known.
        told: when it was told to stop.
    """

    stored: StoredRun
    since: float
    started: int = 0
    ends: float | None = None
    told: float | None = None


@dataclass
class _View:
    """Every waiting run's place as it was worked out last."""

    at: float = -math.inf
    stale: bool = True
    statuses: dict[str, run_pb2.QueueStatus] = field(default_factory=dict)


class RunQueue:
    """Not safe to use from several threads.

    Args:
        cores: how many there are now.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        cores: Callable[[], int],
        limits: UserLimits = NO_LIMITS,
        preemption: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self._cores = cores
        self._preemption = preemption
        self._clock = clock
        self._usage = Usage(clock())
        self._entries: dict[str, _Entry] = {}
        # The owners of paused runs, by their ids.
        self._paused: dict[str, str] = {}
        self._starts = 0
        self._view = _View()
        self._held = ""

    def hold(self, reason: str) -> None:
        """Say why nothing can start now, whatever is free; empty if something can."""
        self._view.stale |= reason != self._held
        self._held = reason

    def update(self, stored: StoredRun) -> float | None:
        """A run is as it says.

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
        """A run neither waits nor works here, or does not do so any more."""
        self._count_usage(self._clock())
        self._view.stale |= self._entries.pop(run_id, None) is not None

    def forget_all(self) -> None:
        """What is going on is told again by ``update``."""
        self._count_usage(self._clock())
        self._entries.clear()
        self._paused.clear()

    def decide(self) -> Decision:
        """What starts and what gives way now."""
        now, cores = self._clock(), self._cores()
        self._count_usage(now)
        for entry in self._entries.values():
            told = bool(entry.stored.run.stop_requested or entry.stored.run.preempted_by)
            entry.told = (now if entry.told is None else entry.told) if told else None
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
        """Where a run stands; None if it does not wait here."""
        entry = self._entries.get(run_id)
        if entry is None or _holds(entry.stored):
            return None
        if self._view.stale and self._clock() - self._view.at > VIEW_SECONDS:
            self.decide()
        return self._view.statuses.get(run_id)

    def placed(self, stored: StoredRun) -> StoredRun:
        """The run, with where it stands if it waits here."""
        waits = stored.run.state == run_pb2.RUN_STATE_QUEUED
        if waits and (status := self.status(stored.run.id)) is not None:
            stored.run.queue.CopyFrom(status)
        return stored

    def _status(self, place: scheduling.Place, seconds: float | None) -> run_pb2.QueueStatus:
        reason = self._held or place.reason or "it is being launched"
        status = run_pb2.QueueStatus(position=place.position, reason=reason)
        # Nobody knows when a cluster comes back.
        if seconds is not None and not self._held:
            start = Timestamp()
            start.FromMilliseconds(round((time.time() + seconds) * 1000))
            status.estimated_start.CopyFrom(start)
        return status

    def waiting_of(self, owner: str) -> int:
        """How many of a user's runs are queued or paused."""
        queued = (e.stored.run.owner for e in self._entries.values() if not _holds(e.stored))
        return sum(each == owner for each in (*queued, *self._paused.values()))

    def cpus_of(self, owner: str, besides: str) -> int:
        """The CPUs that a user's runs hold, without one of them."""
        running = self._running(self._clock(), self._cores())
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
                yielding=entry.told is not None and now - entry.told <= YIELD_SECONDS,
                # One that is being launched has no runner yet that could be told.
                preemptible=entry.told is None
                and entry.stored.run.state == run_pb2.RUN_STATE_RUNNING,
                seconds_left=_seconds_left(entry, now),
            )
            for run_id, entry in self._entries.items()
            if _holds(entry.stored)
        ]

    def _count_usage(self, now: float) -> None:
        held: Counter[str] = Counter()
        for run in self._running(now, self._cores()):
            held[run.owner] += run.cpus
        self._usage.pass_time(now, held)


def worth_telling(last: run_pb2.QueueStatus | None, now: run_pb2.QueueStatus) -> bool:
    """Whether somebody who was told the last status wants to hear of this one."""
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
    if entry.told is not None:
        return 0.0  # to the end of a step
    return None if entry.ends is None else max(0.0, entry.ends - now)
