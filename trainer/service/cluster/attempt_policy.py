"""When attempts at runs begin, when they are given up, and what failures of the cluster mean.

A state machine without input or output: events in, instructions out; time comes in with the
events. An attempt is active from its launch until its outcome is stored. Its runner calls twice a
second. One that has not called for a while is silent: the cluster is asked about its job, and
after ``LOST_SECONDS`` the attempt is given up whatever the cluster says. While the cluster is
unavailable or has no CPUs, the queue is held, and active attempts are left to their runners.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from sumgrad.trainer.service.runs.transitions import GOES_ON

SILENCE_SECONDS = 2.0
"""The cluster is asked about the job of a runner that has not called for longer than this."""

LOST_SECONDS = 120.0
"""An attempt whose runner has not called for longer than this is given up."""

CANCEL_SECONDS = 10.0
"""A runner has this long to stop a cancelled run before its job is stopped."""

ASSUMED_CORES = 256
"""Taken as the size of a cluster that has not named one: enough for the largest run."""

NOT_ASKED = "the Ray cluster has not been asked yet"
NOT_LAUNCHED = "it could not be launched"
LAUNCHED_AGAIN = "it is launched again"


@dataclass(frozen=True)
class Attempt:
    """One attempt at a run; they are numbered from 1."""

    run_id: str
    number: int


class LaunchOutcome(Enum):
    """What handing an attempt's job to the cluster led to.

    TAKEN: the cluster has the job.
    UNREACHABLE: the cluster did not answer, so it may have the job.
    REFUSED: the cluster does not have the job; it may take it another time.
    IMPOSSIBLE: another launch would fail in the same way, as with a specification that names
        files outside the operator's roots.
    """

    TAKEN = "taken"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    IMPOSSIBLE = "impossible"


# Events.


@dataclass(frozen=True)
class ClusterAnswered:
    """The cluster's nodes have this many CPUs."""

    cpus: int


@dataclass(frozen=True)
class ClusterUnavailable:
    """The cluster did not say what it has; nothing more can be asked of it for now."""

    reason: str


@dataclass(frozen=True)
class LookBegan:
    """All active attempts are about to be looked at, each by an ``AttemptActive``."""

    active: frozenset[Attempt]


@dataclass(frozen=True)
class AttemptActive:
    """The run store has the attempt as active.

    Attributes:
        cancel_requested: the run is to be cancelled.
        ray_alive: the Ray that the service started runs, or the cluster is not the service's own.
    """

    attempt: Attempt
    cancel_requested: bool = False
    ray_alive: bool = True


@dataclass(frozen=True)
class RunnerCalled:
    """The runner of an active attempt sent something."""

    attempt: Attempt


@dataclass(frozen=True)
class LaunchEnded:
    """The attempt's job was handed to the cluster, or could not be."""

    attempt: Attempt
    outcome: LaunchOutcome
    reason: str = ""


@dataclass(frozen=True)
class JobEnded:
    """The cluster says that the attempt's job has ended; it printed ``last_line``."""

    attempt: Attempt
    last_line: str


@dataclass(frozen=True)
class JobUnknown:
    """The cluster did not say whether the attempt's job has ended."""

    attempt: Attempt


Event = (
    ClusterAnswered
    | ClusterUnavailable
    | LookBegan
    | AttemptActive
    | RunnerCalled
    | LaunchEnded
    | JobEnded
    | JobUnknown
)


# Instructions.


@dataclass(frozen=True)
class HoldQueue:
    """Give this as the reason why no run starts; an empty one lets runs start again."""

    reason: str


@dataclass(frozen=True)
class StartRuns:
    """Let the queue decide which runs start, and launch them; report each ``LaunchEnded``."""


@dataclass(frozen=True)
class InspectJob:
    """Ask the cluster about the attempt's job; report ``JobEnded`` or ``JobUnknown``."""

    attempt: Attempt


@dataclass(frozen=True)
class StopJob:
    """End the processes of the attempt's job."""

    attempt: Attempt


@dataclass(frozen=True)
class Warn:
    """Add a warning to the run."""

    attempt: Attempt
    message: str


@dataclass(frozen=True)
class BreakOff:
    """The attempt is over without an outcome; its run is queued for another one.

    Attributes:
        again: what the next attempt does.
    """

    attempt: Attempt
    reason: str
    again: str = GOES_ON


@dataclass(frozen=True)
class Cancel:
    """Record the run as cancelled, although its runner has not said so."""

    attempt: Attempt


@dataclass(frozen=True)
class Fail:
    """Record the run as failed; another attempt would not help."""

    attempt: Attempt
    reason: str


Instruction = HoldQueue | StartRuns | InspectJob | StopJob | Warn | BreakOff | Cancel | Fail


@dataclass
class AttemptStatus:
    """What is known of one active attempt.

    Attributes:
        called: when its runner last called; until it does, when the attempt was first seen here.
        cancelling: since when it is known here that the run is to be cancelled.
        warned: the run has been warned, since the cluster last answered, that it is silent.
        stopped: its job has been stopped.
    """

    called: float
    cancelling: float | None = None
    warned: bool = False
    stopped: bool = False


@dataclass
class AttemptPolicy:
    """The state between events.

    Attributes:
        cores: CPUs of the cluster's nodes as last known; at least 1.
        unavailable: why the cluster cannot be asked; empty while it answers.
        held: why no run may start; empty while runs may.
        statuses: of the attempts that were active when the last look began, or have called or been
            launched since.
    """

    cores: int = ASSUMED_CORES
    unavailable: str = NOT_ASKED
    held: str = NOT_ASKED
    statuses: dict[Attempt, AttemptStatus] = field(default_factory=dict)

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Take one event; what is returned is to be done in order.

        Args:
            now: seconds of a clock that never goes back.
        """
        match event:
            case ClusterAnswered(cpus):
                return self._answered(cpus)
            case ClusterUnavailable(reason):
                self.unavailable = reason
                return self._hold(reason)
            case LookBegan(active):
                self.statuses = {one: self.statuses[one] for one in active & self.statuses.keys()}
                return [] if self.held else [StartRuns()]
            case AttemptActive():
                return self._look_at(event, now)
            case RunnerCalled(attempt):
                self._status(attempt, now).called = now
            case LaunchEnded():
                return self._launch_ended(event, now)
            case JobEnded(attempt, last_line):
                return [BreakOff(attempt, f"its runner died: {last_line}")]
            case JobUnknown(attempt):
                return self._warn(attempt, now, self.unavailable)
        return []

    def _answered(self, cpus: int) -> list[Instruction]:
        self.unavailable = ""
        for status in self.statuses.values():
            status.warned = False
        # A cluster without nodes may get some; how many is not known.
        self.cores = cpus or ASSUMED_CORES
        return self._hold("" if cpus else "the Ray cluster has no CPUs")

    def _hold(self, reason: str) -> list[Instruction]:
        if reason == self.held:
            return []
        self.held = reason
        return [HoldQueue(reason)]

    def _launch_ended(self, event: LaunchEnded, now: float) -> list[Instruction]:
        attempt, why = event.attempt, f"{NOT_LAUNCHED}: {event.reason}"
        match event.outcome:
            case LaunchOutcome.TAKEN:
                self._status(attempt, now)
                return []
            case LaunchOutcome.UNREACHABLE:  # the cluster may have taken it
                return self._warn(attempt, now, event.reason)
            case LaunchOutcome.REFUSED:
                return [BreakOff(attempt, why, LAUNCHED_AGAIN)]
            case LaunchOutcome.IMPOSSIBLE:
                return [Fail(attempt, why)]

    def _look_at(self, event: AttemptActive, now: float) -> list[Instruction]:
        """Give up an attempt whose runner is gone, or does not stop when it should."""
        attempt, status = event.attempt, self._status(event.attempt, now)
        silence = now - status.called
        if event.cancel_requested and status.cancelling is None:
            status.cancelling = now
        if status.cancelling is not None and now - status.cancelling > CANCEL_SECONDS:
            return [*self._stop(attempt, status), Cancel(attempt)]
        if not event.ray_alive:
            return [BreakOff(attempt, "the Ray cluster died")]
        if silence > LOST_SECONDS:
            reason = f"its runner was silent for {LOST_SECONDS:.0f} s"
            return [*self._stop(attempt, status), BreakOff(attempt, reason)]
        if silence <= SILENCE_SECONDS:
            return []
        if self.unavailable:
            return self._warn(attempt, now, self.unavailable)
        return [InspectJob(attempt)]

    def _stop(self, attempt: Attempt, status: AttemptStatus) -> list[Instruction]:
        """Stop a job once, if the cluster can be asked to."""
        if self.unavailable or status.stopped:
            return []
        status.stopped = True
        return [StopJob(attempt)]

    def _warn(self, attempt: Attempt, now: float, reason: str) -> list[Instruction]:
        """Warn a run that its cluster is silent, once until the cluster answers again."""
        status = self._status(attempt, now)
        if status.warned:
            return []
        status.warned = True
        reason = reason or "the Ray cluster does not answer"
        return [Warn(attempt, f"{reason}; the run waits for it")]

    def _status(self, attempt: Attempt, now: float) -> AttemptStatus:
        return self.statuses.setdefault(attempt, AttemptStatus(now))
