"""What one attempt at a run does: when it starts, restarts and stops processes, and how it ends.

A state machine without input or output: events in, instructions out; time comes in with the
events. It starts a parameter server and its workers together, replaces workers that end, starts
another server, with workers of its own, when the server dies, and ends with exactly one report.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sumgrad.trainer.runner.worker_group import (
    Change,
    RetireWorker,
    SlotFailedError,
    SlotLeftEmpty,
    StartWorker,
    WorkerGroup,
)
from sumgrad.trainer.v1 import run_pb2, runner_pb2

START_SECONDS = 120.0
"""A parameter server that has not started after this long counts as dead."""

STOP_SECONDS = 5.0
"""A parameter server that was told to cancel has this long to report that it did."""

RESTARTS = 3
"""A parameter server that dies this often in a row without a step in between fails the run."""

PLACE_SECONDS = 30.0
"""A worker that has not been placed for this long waits for CPUs, and the run says so."""

OUTCOMES = frozenset({"finished", "failed", "cancelled", "paused"})
"""The kinds of reports that end an attempt."""


@dataclass(frozen=True)
class Began:
    """The first event, once."""


@dataclass(frozen=True)
class ServerStarted:
    """The parameter server takes commands."""


@dataclass(frozen=True)
class ServerRefused:
    """The parameter server cannot be made, and another try would fare no better."""

    reason: str


@dataclass(frozen=True)
class ServerDied:
    """The parameter server has ended; every report that it sent has been handled."""

    reason: str


@dataclass(frozen=True)
class Reported:
    """The parameter server has sent this report."""

    report: runner_pb2.RunReport


@dataclass(frozen=True)
class Requested:
    """The service wants this of the run; it repeats what it wants.

    Attributes:
        workers: how many; 0 for no change.
    """

    workers: int = 0
    cancel: bool = False
    pause: bool = False


@dataclass(frozen=True)
class WorkerPlaced:
    """The worker has its CPUs."""

    name: str


@dataclass(frozen=True)
class WorkerEnded:
    """The worker's process has ended.

    Attributes:
        refused: because the server did not admit it.
    """

    name: str
    reason: str
    refused: bool = False


@dataclass(frozen=True)
class WeightsStored:
    """The service has the weights, at this path."""

    path: str


@dataclass(frozen=True)
class WeightsRefused:
    """The service does not take the weights.

    Attributes:
        location: where they are.
    """

    reason: str
    location: str


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


Event = (
    Began
    | ServerStarted
    | ServerRefused
    | ServerDied
    | Reported
    | Requested
    | WorkerPlaced
    | WorkerEnded
    | WeightsStored
    | WeightsRefused
    | Tick
)


@dataclass(frozen=True)
class StartServer:
    """Start a parameter server, for this number of workers."""

    workers: int


@dataclass(frozen=True)
class KillWorker:
    """End this worker's process, if there still is one."""

    name: str


@dataclass(frozen=True)
class StopProcesses:
    """End the parameter server and all its workers."""


@dataclass(frozen=True)
class Send:
    """Send this command to the parameter server."""

    command: runner_pb2.Command


@dataclass(frozen=True)
class Report:
    """Pass this on to the service, and to the run's log.

    Attributes:
        of_server: the parameter server made it, else the runner.
    """

    report: runner_pb2.RunReport
    of_server: bool = False


@dataclass(frozen=True)
class StoreWeights:
    """Send the weights to the service; the answer is the next event."""


@dataclass(frozen=True)
class End:
    """The attempt is over; nothing follows.

    Attributes:
        keeps_snapshots: the run may be resumed from them.
        keeps_folder: the runner's own folder holds what nobody else has.
    """

    keeps_snapshots: bool = True
    keeps_folder: bool = False


Instruction = (
    StartServer | StartWorker | KillWorker | StopProcesses | Send | Report | StoreWeights | End
)


@dataclass
class Attempt:
    """The state between events.

    Attributes:
        workers: how many are wanted; another parameter server starts with so many.
        shared: the service reaches the runner's folder, so it needs no weights sent.
        group: the workers of the current parameter server.
        started: the current parameter server takes commands.
        since: when it was made.
        unplaced: workers that wait for CPUs, since when, unless the run has said so.
        deaths: of parameter servers in a row, without a step that is new to the attempt between.
        furthest: the last step that was reported.
        cancelled: when the server was told to cancel.
        pausing: the server was told to pause.
        result: of a finished run whose weights the service has yet to take.
        over: the attempt has ended; every further event is ignored.
    """

    workers: int
    shared: bool
    group: WorkerGroup = field(default_factory=WorkerGroup)
    started: bool = False
    since: float = 0.0
    unplaced: dict[str, float] = field(default_factory=dict)
    deaths: int = 0
    furthest: int = 0
    cancelled: float | None = None
    pausing: bool = False
    result: run_pb2.Result | None = None
    over: bool = False

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Take one event; what is returned is to be done in order.

        Args:
            now: seconds of a clock that never goes back.
        """
        if self.over:
            return []
        match event:
            case Began():
                return self._start(now)
            case ServerStarted():
                self.started = True
            case ServerRefused(reason):
                return self._fail(f"the parameter server cannot start: {reason}")
            case ServerDied(reason):
                return self._server_died(reason, now)
            case Reported(report):
                return self._reported(report)
            case Requested():
                return self._requested(event, now)
            case WorkerPlaced(name):
                self.unplaced.pop(name, None)
            case WorkerEnded():
                return self._worker_ended(event, now)
            case WeightsStored(path):
                return self._weights_stored(path)
            case WeightsRefused(reason, location):
                message = f"the service did not take the weights: {reason}; they lie {location}"
                return self._fail(message, keeps_folder=True)
            case Tick():
                return self._tick(now)
        return []

    def _start(self, now: float) -> list[Instruction]:
        """Start a server, and its workers beside it: their processes take as long to start."""
        self.started, self.since, self.pausing = False, now, False
        self.group, self.unplaced = WorkerGroup(), {}
        return [StartServer(self.workers), *self._carry_out(self.group.resize(self.workers), now)]

    def _server_died(self, reason: str, now: float) -> list[Instruction]:
        """Start another server, which goes on from the last snapshot, but not for ever."""
        self.deaths += 1
        if self.cancelled is not None:
            return self._cancel()
        if self.deaths >= RESTARTS:
            return self._fail(f"the parameter server died {self.deaths} times in a row: {reason}")
        restarted = runner_pb2.RunReport(restarted=run_pb2.Restarted(reason=reason))
        return [Report(restarted), StopProcesses(), *self._start(now)]

    def _reported(self, report: runner_pb2.RunReport) -> list[Instruction]:
        kind = report.WhichOneof("kind")
        match kind:
            case "expel":
                # Its slot is filled again once its process has ended.
                warning = _warning(report.expel.reason)
                return [KillWorker(report.expel.worker), Report(warning, of_server=True)]
            case "membership" if report.membership.joined:
                self.group.contributed(report.membership.worker)
            case "progress" if report.progress.step > self.furthest:
                self.furthest, self.deaths = report.progress.step, 0
            case "finished" if not self.shared:
                self.result = report.finished
                return [StoreWeights()]
        passed_on = Report(report, of_server=True)
        if kind not in OUTCOMES:
            return [passed_on]
        finished, paused = kind == "finished", kind == "paused"
        return self._end(passed_on, keeps_snapshots=not finished, keeps_folder=paused)

    def _requested(self, requested: Requested, now: float) -> list[Instruction]:
        self.workers = requested.workers or self.workers
        if not self.started:
            # There is no server to tell; the service repeats everything else.
            return self._cancel() if requested.cancel else []
        instructions: list[Instruction] = []
        if requested.cancel and self.cancelled is None:
            self.cancelled = now
            instructions.append(Send(runner_pb2.Command(cancel=runner_pb2.Cancel())))
        if requested.pause and not self.pausing:
            self.pausing = True
            instructions.append(Send(runner_pb2.Command(pause=runner_pb2.Pause())))
        return [*instructions, *self._carry_out(self.group.resize(self.workers), now)]

    def _worker_ended(self, ended: WorkerEnded, now: float) -> list[Instruction]:
        """Tell the server, and replace the worker."""
        self.unplaced.pop(ended.name, None)
        lost = runner_pb2.WorkerLost(worker=ended.name, reason=ended.reason)
        report = Send(runner_pb2.Command(worker_lost=lost))
        try:
            changes = self.group.ended(ended.name, ended.reason, ended.refused)
        except SlotFailedError as error:
            return [report, *self._fail(str(error))]
        return [report, *self._carry_out(changes, now)]

    def _carry_out(self, changes: list[Change], now: float) -> list[Instruction]:
        """What changes of the worker group mean for processes, server and report."""
        instructions: list[Instruction] = []
        for change in changes:
            match change:
                case StartWorker(name):
                    self.unplaced[name] = now
                    instructions.append(change)
                case RetireWorker(name):
                    retired = runner_pb2.WorkerRetired(worker=name)
                    instructions.append(Send(runner_pb2.Command(worker_retired=retired)))
                case SlotLeftEmpty():
                    instructions.append(Report(_warning(str(change))))
        return instructions

    def _weights_stored(self, path: str) -> list[Instruction]:
        report = runner_pb2.RunReport(finished=self.result)
        report.finished.weights_path = path
        return self._end(Report(report, of_server=True), keeps_snapshots=False)

    def _tick(self, now: float) -> list[Instruction]:
        if not self.started:
            late = now - self.since > START_SECONDS
            reason = f"it has not started in {START_SECONDS:.0f} s"
            return self._server_died(reason, now) if late else []
        if self.cancelled is not None and now - self.cancelled > STOP_SECONDS:
            return self._cancel()
        waiting = [name for name, at in self.unplaced.items() if now - at > PLACE_SECONDS]
        for name in waiting:
            del self.unplaced[name]
        message = f"waits for CPUs: Ray has not placed it in {PLACE_SECONDS:.0f} s"
        return [Report(_warning(f"{name} {message}")) for name in waiting]

    def _cancel(self) -> list[Instruction]:
        return self._end(Report(runner_pb2.RunReport(cancelled=runner_pb2.Cancelled())))

    def _fail(self, message: str, keeps_folder: bool = False) -> list[Instruction]:
        failed = runner_pb2.RunReport(failed=runner_pb2.Failed(message=message))
        return self._end(Report(failed), keeps_folder=keeps_folder)

    def _end(
        self, outcome: Report, keeps_snapshots: bool = True, keeps_folder: bool = False
    ) -> list[Instruction]:
        self.over = True
        return [outcome, StopProcesses(), End(keeps_snapshots, keeps_folder)]


def _warning(message: str) -> runner_pb2.RunReport:
    return runner_pb2.RunReport(warning=run_pb2.Warning(message=message))
