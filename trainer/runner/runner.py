"""The runner: the driver of a run's Ray job.

Makes the parameter server and the workers, replaces what dies, passes the server's reports up to
the service and the service's wishes down to the server.
"""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import zmq

from sumgrad.trainer.record.receipt import code_version, spec_digest
from sumgrad.trainer.runner.actors import start_server, start_worker
from sumgrad.trainer.runner.drill_journal import DrillJournal
from sumgrad.trainer.runner.log_messages import tell
from sumgrad.trainer.runner.run_folder import Workplace, workplace
from sumgrad.trainer.runner.upstream.protocol import Link, WeightsNotTakenError
from sumgrad.trainer.runner.worker_group import Actor, Crew, SlotFailedError, Work
from sumgrad.trainer.server.rounds.membership import RUNNER
from sumgrad.trainer.server.saving.snapshot_keeper import SnapshotPlan
from sumgrad.trainer.server.training_plan import TrainingPlan
from sumgrad.trainer.snapshots.location import snapshots_of
from sumgrad.trainer.snapshots.snapshot import SnapshotError
from sumgrad.trainer.snapshots.snapshot_store import SnapshotStore
from sumgrad.trainer.spec.allowed_locations import SpecRoots
from sumgrad.trainer.spec.messages import to_document
from sumgrad.trainer.spec.parse import parse
from sumgrad.trainer.spec.run_spec import RunSpec
from sumgrad.trainer.v1 import run_pb2, runner_pb2
from sumgrad.workers.channel import ServerAddress, connect
from sumgrad.workers.drills.drill import NO_FAULTS, FaultPlan
from sumgrad.workers.host.allowed_paths import ANYWHERE
from sumgrad.workers.logs.captured_output import COLOUR
from sumgrad.workers.serving import RefusedError

SEND_SECONDS = 0.4
"""Reports go up, and wishes come down, this often."""

START_SECONDS = 120.0
"""The parameter server has this long to start."""

STOP_SECONDS = 5.0
"""A parameter server that was told to stop has this long to say that it did."""

RESTARTS = 3
"""A parameter server that dies this often in a row without a step in between fails the run."""

PLACE_SECONDS = 30.0
"""A worker that has not been placed for this long waits for CPUs, and the run says so."""

LAST = ("finished", "failed", "cancelled", "paused")
"""The reports that end an attempt."""

_LOG = logging.getLogger(__name__)


Unplaced = dict[Work, tuple[str, float]]
"""Workers that Ray has not placed yet, by what tells when it has: name, and since when."""


class Runner:
    """One attempt at one run, in a process that is connected to Ray.

    Args:
        link: who wants the run.
        clock: seconds, never going back; what waits for Ray and the server are bounded by.
    """

    def __init__(self, link: Link, clock: Callable[[], float] = time.monotonic) -> None:
        self._link = link
        self._clock = clock
        self._workers = 0
        self._place = Workplace(Path(), shared=True)
        self._ended = self._succeeded = self._needed = False
        self._cancelled: float | None = None
        self._pausing = False
        self._furthest = 0
        self._deaths = 0
        self._drill = NO_FAULTS.drill(RUNNER)
        self._journal: DrillJournal | None = None

    def run(self) -> None:
        """Take the run, see it through, report its outcome.

        Raises:
            ServiceGoneError: nobody wants the outcome.
            ray.exceptions.RayError: Ray itself fails, which ends the attempt and not the run.
        """
        assignment = self._link.take()
        self._workers = assignment.workers
        spec = _assigned(assignment)
        self._place = workplace(assignment)
        faults = FaultPlan(tuple(spec.faults), self._link.attempt, self._place.journal)
        self._drill = faults.drill(RUNNER)
        self._journal = (
            DrillJournal(self._place.journal, self._link.attempt) if spec.faults else None
        )
        _LOG.info(
            "attempt %d starts on host %s as process %d: %d worker(s), spec %s, code %s",
            self._link.attempt, platform.node(), os.getpid(), assignment.workers,
            spec_digest(spec.document())[:16], code_version(),
        )  # fmt: skip
        self._warn_of_local_snapshots(spec)
        while not self._ended:
            self._serve(spec, assignment.worker_cpus, faults)
        self._link.flush()
        # Not before the outcome is stored: a run whose success nobody knows is resumed.
        if self._succeeded:
            _delete_snapshots(_snapshots(spec, self._place))
        if not self._needed:
            self._place.clear()
        _LOG.info("the runner ends")

    def _warn_of_local_snapshots(self, spec: RunSpec) -> None:
        if not self._place.shared and spec.snapshots.location is None:
            self._warn(
                f"snapshots lie on this node alone, in {self._place.folder}: an attempt on another "
                "node would begin anew; set snapshots.location to storage that all nodes reach"
            )

    def _serve(self, spec: RunSpec, worker_cpus: float, faults: FaultPlan) -> None:
        """From the start of a parameter server to the end of the attempt, or its death."""
        server = start_server(_plan(spec, self._workers, self._place, faults))
        address = server.address.remote()

        def start(name: str) -> tuple[Actor, Work]:
            actor = start_worker(worker_cpus)
            unplaced[actor.__ray_ready__.remote()] = name, self._clock()
            return actor, actor.work.remote(spec.job(), address, name, spec.workers.vectors, faults)

        unplaced: Unplaced = {}
        crew = Crew(start)
        try:
            # Their processes start beside the server's, and Ray has them wait for its address.
            crew.resize(self._workers)
            found = self._wait_for(address)
            if found is not None:
                with _connected(found) as socket:
                    # From its first word on, the server knows where reports go.
                    socket.send(runner_pb2.Command().SerializeToString())
                    self._follow(socket, server.train.remote(), crew, unplaced)
        except SlotFailedError as error:
            self._fail(str(error))
        finally:
            for member in crew.members.values():
                ray.kill(member.actor)
            ray.kill(server)

    def _wait_for(self, address: Work) -> ServerAddress | None:
        """Where the parameter server is, once it has started; None if it does not."""
        deadline = self._clock() + START_SECONDS
        while not ray.wait([address], timeout=SEND_SECONDS)[0]:
            if self._clock() > deadline:
                self._server_died(f"it has not started in {START_SECONDS:.0f} s")
                return None
            self._exchange(self._obey_at_start)
            if self._ended:
                return None
        try:
            found: ServerAddress = ray.get(address, timeout=START_SECONDS)
        except ray.exceptions.RayActorError as error:
            if error.actor_init_failed:
                self._fail(f"the parameter server cannot start: {ray_reason(error)}")
            else:
                self._server_died(ray_reason(error))
            return None
        return found

    def _obey_at_start(self, wishes: runner_pb2.ReportResponse) -> None:
        """All other wishes can wait for a server: the service repeats them."""
        if wishes.cancel:
            self._end(runner_pb2.RunReport(cancelled=runner_pb2.Cancelled()))

    def _follow(
        self, socket: zmq.Socket[bytes], training: Work, crew: Crew, unplaced: Unplaced
    ) -> None:
        """Pass reports up and wishes down until the attempt or the server has ended."""
        while not self._ended:
            self._collect(socket, crew)
            self._exchange(lambda wishes: self._obey(socket, crew, wishes))
            self._stop_in_time()
            self._watch_workers(socket, crew)
            self._watch_places(unplaced)
            if ray.wait([training], timeout=0)[0] and not self._ended:
                # Its last report may still be on its way if it ended in good order.
                self._collect(socket, crew)
                self._server_died(self._outcome("server", training)[0])
                return

    def _collect(self, socket: zmq.Socket[bytes], crew: Crew) -> None:
        """Take the server's reports for SEND_SECONDS, or until the last one."""
        deadline = time.monotonic() + SEND_SECONDS
        while (left := deadline - time.monotonic()) > 0 and socket.poll(int(left * 1000) + 1):
            report = runner_pb2.RunReport.FromString(socket.recv())
            kind = report.WhichOneof("kind")
            if kind == "log":
                self._link.log.add(report.log.lines)
                continue
            if kind == "expel":
                report = self._expel(report.expel, crew)
            if kind == "membership" and report.membership.joined:
                crew.contributed(report.membership.worker)
            if kind == "progress" and report.progress.step > self._furthest:
                self._furthest, self._deaths = report.progress.step, 0
            if kind == "finished" and not self._place.shared:
                report = self._hand_over(report)
                kind = report.WhichOneof("kind")
            self._report("server", report)
            if kind == "progress":
                self._drill.at("progress", report.progress.step)
            if kind in LAST:
                self._ended, self._succeeded = True, kind == "finished"
                self._needed |= kind == "paused"
                return

    def _hand_over(self, report: runner_pb2.RunReport) -> runner_pb2.RunReport:
        """Send the weights to the service; what is reported of the run then."""
        try:
            report.finished.weights_path = self._link.put_weights(self._place.weights)
        except WeightsNotTakenError as error:
            self._needed = True
            message = (
                f"the service did not take the weights: {error}; they lie on host "
                f"{platform.node()} in {self._place.weights}"
            )
            return runner_pb2.RunReport(failed=runner_pb2.Failed(message=message))
        return report

    def _expel(self, expel: runner_pb2.ExpelWorker, crew: Crew) -> runner_pb2.RunReport:
        """End a worker's actor; what is reported of it. Its slot is filled when it is gone."""
        actor = crew.actor(expel.worker)
        if actor is not None:
            ray.kill(actor)
        return runner_pb2.RunReport(warning=run_pb2.Warning(message=expel.reason))

    def _report(self, source: str, report: runner_pb2.RunReport) -> None:
        """Put a report in line, and what the log says of it."""
        self._link.add(report)
        if (told := tell(report)) is not None:
            self._link.log.tell(source, *told)

    def _log_drills(self) -> None:
        for target, message, step in self._journal.fired() if self._journal else ():
            self._link.log.tell(target, logging.WARNING, message, step)

    def _exchange(self, obey: Callable[[runner_pb2.ReportResponse], None]) -> None:
        """Do what the service wishes, and send reports to it; it is not waited for."""
        self._log_drills()
        wishes = self._link.wishes()
        if wishes is not None and not self._ended:
            self._workers = wishes.workers or self._workers
            obey(wishes)
        self._link.send()

    def _obey(
        self, socket: zmq.Socket[bytes], crew: Crew, wishes: runner_pb2.ReportResponse
    ) -> None:
        if wishes.cancel and self._cancelled is None:
            self._cancelled = self._clock()
            _LOG.info("the run is to be cancelled")
            _command(socket, cancel=runner_pb2.Cancel())
        if wishes.pause and not self._pausing:
            self._pausing = True
            _LOG.info("the run is to be paused")
            _command(socket, pause=runner_pb2.Pause())
        for worker in crew.resize(self._workers):
            _command(socket, worker_retired=runner_pb2.WorkerRetired(worker=worker))

    def _stop_in_time(self) -> None:
        """A cancelled run is over, whatever its server does."""
        if self._cancelled is not None and self._clock() - self._cancelled > STOP_SECONDS:
            self._end(runner_pb2.RunReport(cancelled=runner_pb2.Cancelled()))

    def _watch_workers(self, socket: zmq.Socket[bytes], crew: Crew) -> None:
        """Tell the server of workers that have ended, and have them replaced."""
        watched = list(crew.members)
        done = ray.wait(watched, num_returns=len(watched), timeout=0)[0] if watched else []
        for work in done:
            name = crew.members[work].name
            reason, error = self._outcome(name, work)
            _command(socket, worker_lost=runner_pb2.WorkerLost(worker=name, reason=reason))
            slot = crew.ended(work, reason, isinstance(error, RefusedError)).slot
            if slot in crew.empty:
                self._warn(
                    f"worker slot {slot} stays empty, because its workers are refused again and "
                    f"again; the last time: {reason}"
                )

    def _watch_places(self, unplaced: Unplaced) -> None:
        """Say of a worker that Ray finds no place for it; the others go on meanwhile."""
        watched = list(unplaced)
        placed = ray.wait(watched, num_returns=len(watched), timeout=0)[0] if watched else []
        waiting = [one for one in watched if self._clock() - unplaced[one][1] > PLACE_SECONDS]
        for one in {*placed, *waiting}:
            name, _ = unplaced.pop(one)
            if one not in placed:
                self._warn(f"{name} waits for CPUs: Ray has not placed it in {PLACE_SECONDS:.0f} s")

    def _server_died(self, reason: str) -> None:
        """Have another one started, from the last snapshot, unless that goes on for ever."""
        if self._ended:
            return
        self._deaths += 1
        self._pausing = False
        if self._cancelled is not None:
            self._end(runner_pb2.RunReport(cancelled=runner_pb2.Cancelled()))
        elif self._deaths >= RESTARTS:
            self._fail(f"the parameter server died {self._deaths} times in a row: {reason}")
        else:
            restarted = run_pb2.Restarted(reason=reason)
            self._report(RUNNER, runner_pb2.RunReport(restarted=restarted))

    def _outcome(self, name: str, work: Work) -> tuple[str, Exception | None]:
        """Why an actor's work is over, in a line, and the error if it is one.

        The log has the whole traceback.
        """
        self._log_drills()
        try:
            ray.get(work, timeout=START_SECONDS)
        except Exception as error:
            ending = COLOUR.sub("", str(error)).strip()
            self._link.log.tell(name, logging.ERROR, f"its process has ended: {ending}")
            return ray_reason(error), error
        return "it ended in good order", None

    def _warn(self, message: str) -> None:
        warning = run_pb2.Warning(message=message)
        self._report(RUNNER, runner_pb2.RunReport(warning=warning))

    def _fail(self, message: str) -> None:
        self._end(runner_pb2.RunReport(failed=runner_pb2.Failed(message=message)))

    def _end(self, report: runner_pb2.RunReport) -> None:
        """The outcome, unless the server has told one already."""
        if not self._ended:
            self._ended = True
            self._report(RUNNER, report)


@contextmanager
def _connected(address: ServerAddress) -> Iterator[zmq.Socket[bytes]]:
    socket = connect(address, RUNNER, address.local)
    try:
        yield socket
    finally:
        socket.close(linger=0)


def _delete_snapshots(plan: SnapshotPlan) -> None:
    """The weights file is the result; snapshots that stay behind are only in the way."""
    try:
        SnapshotStore(plan.location, plan.keep, roots=plan.roots).delete_all()
    except SnapshotError as error:
        _LOG.warning("%s", error)


def _command(socket: zmq.Socket[bytes], **kind: Any) -> None:
    socket.send(runner_pb2.Command(**kind).SerializeToString())


def ray_reason(error: Exception) -> str:
    """What a Ray error says, without the remote traceback before it and the guesses behind it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].partition(" Worker exit type: ")[0] if lines else type(error).__name__


def _assigned(assignment: runner_pb2.TakeRunResponse) -> RunSpec:
    """The run's specification, within the roots that the service's operator has named."""
    spec = parse(to_document(assignment.spec))
    if not assignment.HasField("roots"):
        return spec
    return spec.within(SpecRoots.of(assignment.roots.data, assignment.roots.snapshots))


def _plan(spec: RunSpec, workers: int, place: Workplace, faults: FaultPlan) -> TrainingPlan:
    return TrainingPlan(
        job=spec.job(),
        descent=spec.descent,
        epochs=spec.train.epochs,
        steps=spec.train.steps,
        workers=workers,
        weights_path=place.weights,
        metadata={"name": spec.name},
        spec_digest=spec_digest(spec.document()),
        start_from=spec.model.start_from,
        start_roots=spec.roots.checkpoints,
        stop_after=spec.train.stop_after,
        schedule=spec.train.schedule,
        warmup_steps=spec.train.warmup_steps,
        early_stopping=spec.train.early_stopping,
        non_finite=spec.train.non_finite,
        fingerprint=spec.workers.fingerprint,
        faults=faults,
        snapshots=_snapshots(spec, place),
    )


def _snapshots(spec: RunSpec, place: Workplace) -> SnapshotPlan:
    chosen = spec.snapshots
    return SnapshotPlan(
        location=snapshots_of(place.folder, chosen.location),
        spec=spec_digest(spec.document()),
        keep=chosen.keep,
        every_steps=chosen.every_steps,
        every_seconds=chosen.every_seconds,
        # The run's own folder is the service's, and no user has named it.
        roots=spec.roots.snapshots if chosen.location else ANYWHERE,
    )
