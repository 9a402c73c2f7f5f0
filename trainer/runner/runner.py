"""The runner: the driver of a run's Ray job, which carries out what ``attempt`` decides."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Callable

import ray

from sumgrad.trainer.record.receipt import code_version
from sumgrad.trainer.runner.assignment import Assignment
from sumgrad.trainer.runner.attempt import (
    Attempt,
    Began,
    End,
    Event,
    Instruction,
    KillWorker,
    Report,
    Reported,
    Requested,
    Send,
    ServerDied,
    ServerRefused,
    ServerStarted,
    StartServer,
    StopProcesses,
    StoreWeights,
    Tick,
    WeightsRefused,
    WeightsStored,
    WorkerEnded,
    WorkerPlaced,
)
from sumgrad.trainer.runner.drill_journal import DrillJournal
from sumgrad.trainer.runner.log_messages import log_message
from sumgrad.trainer.runner.processes import Ending, Processes, ray_reason
from sumgrad.trainer.runner.upstream.protocol import Upstream, WeightsNotTakenError
from sumgrad.trainer.runner.worker_group import StartWorker
from sumgrad.trainer.server.rounds.membership import RUNNER
from sumgrad.trainer.server.saving.snapshot_keeper import SnapshotPlan
from sumgrad.trainer.snapshots.snapshot import SnapshotError
from sumgrad.trainer.snapshots.snapshot_store import SnapshotStore
from sumgrad.trainer.v1 import run_pb2, runner_pb2
from sumgrad.workers.logs.captured_output import COLOUR
from sumgrad.workers.serving import RefusedError

SEND_SECONDS = 0.4
"""Reports go up, and requests come down, this often."""

SERVER = "server"
"""The parameter server, as a source of log lines."""

_LOG = logging.getLogger(__name__)

_ANNOUNCED = {
    "cancel": "the run is to be cancelled",
    "pause": "the run is to be paused",
}
"""What the log says of commands to the server."""


def run(upstream: Upstream, clock: Callable[[], float] = time.monotonic) -> None:
    """Take the run, see one attempt at it through, report the outcome.

    The process must be connected to Ray.

    Args:
        clock: seconds, never going back; bounds the waits for Ray and the parameter server.

    Raises:
        ServiceGoneError: the outcome cannot be reported.
        ray.exceptions.RayError: Ray itself fails, which ends the attempt and not the run.
    """
    assignment = Assignment.of(upstream.take(), upstream.attempt)
    _LOG.info(
        "attempt %d starts on host %s as process %d: %d worker(s), spec %s, code %s",
        assignment.attempt, platform.node(), os.getpid(), assignment.workers,
        assignment.spec_digest[:16], code_version(),
    )  # fmt: skip
    Runner(assignment, upstream, clock).run()
    _LOG.info("the runner ends")


class Runner:
    """Reports events to an attempt, and carries out its instructions."""

    def __init__(
        self, assignment: Assignment, upstream: Upstream, clock: Callable[[], float]
    ) -> None:
        self._assignment = assignment
        self._upstream = upstream
        self._clock = clock
        self._attempt = Attempt(assignment.workers, assignment.folder.shared)
        self._processes: Processes | None = None
        self._drill = assignment.faults.drill(RUNNER)
        self._journal = DrillJournal(assignment.folder.journal, assignment.attempt)

    def run(self) -> None:
        """See the attempt through, from its first process to its acknowledged report."""
        self._warn_of_local_snapshots()
        try:
            self._handle(Began())
            while not self._attempt.over:
                self._step()
        finally:
            self._stop_processes()

    def _step(self) -> None:
        """Take what has happened within SEND_SECONDS."""
        if self._running.connected:
            self._collect()
        else:
            self._connect()
        self._exchange()
        self._watch_processes()
        self._handle(Tick())

    def _handle(self, event: Event) -> None:
        for instruction in self._attempt.handle(event, self._clock()):
            self._execute(instruction)

    # What happens.

    def _connect(self) -> None:
        """Wait for the parameter server to start."""
        try:
            if self._running.connect(SEND_SECONDS):
                self._handle(ServerStarted())
        except ray.exceptions.RayActorError as error:
            reason = ray_reason(error)
            refused = error.actor_init_failed
            self._handle(ServerRefused(reason) if refused else ServerDied(reason))

    def _collect(self) -> None:
        """Take the parameter server's reports."""
        deadline = time.monotonic() + SEND_SECONDS
        while not self._attempt.over and (left := deadline - time.monotonic()) > 0:
            report = self._running.receive(left)
            if report is None:
                return
            if report.HasField("log"):
                self._upstream.log.add(report.log.lines)
            else:
                self._handle(Reported(report))

    def _exchange(self) -> None:
        """Take what the service requests, and send it what has gathered; do not wait for it."""
        self._log_drills()
        response = self._upstream.requests()
        if response is not None:
            self._handle(Requested(response.workers, response.cancel, response.pause))
        self._upstream.send()

    def _watch_processes(self) -> None:
        """See which workers have been placed, and which processes have ended."""
        if self._attempt.over or not self._running.connected:
            return
        processes = self._running
        for name in processes.placed():
            self._handle(WorkerPlaced(name))
        for name, ending in processes.ended_workers():
            self._log_ending(name, ending)
            refused = isinstance(ending.error, RefusedError)
            self._handle(WorkerEnded(name, ending.reason, refused))
        server = processes.ended_server()
        if server is not None and not self._attempt.over:
            self._collect()  # its last report may still be on its way
            self._log_ending(SERVER, server)
            self._handle(ServerDied(server.reason))

    def _log_ending(self, name: str, ending: Ending) -> None:
        """Log the whole traceback of a process that did not end in good order."""
        self._log_drills()
        if ending.error is not None:
            text = COLOUR.sub("", str(ending.error)).strip()
            self._upstream.log.write(name, logging.ERROR, f"its process has ended: {text}")

    def _log_drills(self) -> None:
        for target, message, step in self._journal.fired():
            self._upstream.log.write(target, logging.WARNING, message, step)

    # What is to be done.

    def _execute(self, instruction: Instruction) -> None:
        match instruction:
            case StartServer(workers):
                self._processes = Processes(self._assignment, workers)
            case StartWorker(name):
                self._running.start_worker(name)
            case KillWorker(name):
                self._running.kill_worker(name)
            case StopProcesses():
                self._stop_processes()
            case Send(command):
                self._send(command)
            case Report(report, of_server):
                self._report(SERVER if of_server else RUNNER, report)
            case StoreWeights():
                self._handle(self._store_weights())
            case End(keeps_snapshots, keeps_folder):
                self._end(keeps_snapshots, keeps_folder)

    @property
    def _running(self) -> Processes:
        assert self._processes is not None, "the attempt has started no parameter server"
        return self._processes

    def _stop_processes(self) -> None:
        processes, self._processes = self._processes, None
        if processes is not None:
            processes.stop()

    def _send(self, command: runner_pb2.Command) -> None:
        announced = _ANNOUNCED.get(command.WhichOneof("kind") or "")
        if announced:
            _LOG.info(announced)
        self._running.send(command)

    def _report(self, source: str, report: runner_pb2.RunReport) -> None:
        """Put a report in line, and into the run's log what that says of it."""
        self._upstream.add(report)
        message = log_message(report)
        if message is not None:
            self._upstream.log.write(source, *message)
        if report.HasField("progress"):
            self._drill.at("progress", report.progress.step)

    def _store_weights(self) -> WeightsStored | WeightsRefused:
        weights = self._assignment.folder.weights
        try:
            return WeightsStored(self._upstream.put_weights(weights))
        except WeightsNotTakenError as error:
            return WeightsRefused(str(error), f"on host {platform.node()} in {weights}")

    def _end(self, keeps_snapshots: bool, keeps_folder: bool) -> None:
        self._upstream.flush()
        # Not before the outcome is stored: a run that is not known to have succeeded is resumed.
        if not keeps_snapshots:
            _delete_snapshots(self._assignment.snapshots())
        if not keeps_folder:
            self._assignment.folder.clear()

    def _warn_of_local_snapshots(self) -> None:
        folder = self._assignment.folder
        if not folder.shared and self._assignment.spec.snapshots.location is None:
            message = (
                f"snapshots lie on this node alone, in {folder.path}: an attempt on another node "
                "would begin anew; set snapshots.location to storage that all nodes reach"
            )
            self._report(RUNNER, runner_pb2.RunReport(warning=run_pb2.Warning(message=message)))


def _delete_snapshots(plan: SnapshotPlan) -> None:
    """Make room: the weights file is the result."""
    try:
        SnapshotStore(plan.location, plan.keep, roots=plan.roots).delete_all()
    except SnapshotError as error:
        _LOG.warning("%s", error)
