"""The runner: the driver of a run's Ray job.

Makes the parameter server and the workers, watches them, passes the server's reports up to the
service and the service's wishes down to the server.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import ray
import zmq

from trainer.runner.actors import ServerActor, WorkerActor
from trainer.runner.service_link import ServiceLink
from trainer.server.parameter_server import RUNNER, TrainingPlan
from trainer.spec.parse import parse
from trainer.spec.run_spec import RunSpec
from trainer.spec.wire import to_document
from trainer.v1 import runner_pb2
from workers.channel import ServerAddress, connect
from workers.faults import NO_FAULTS, FaultPlan

SEND_SECONDS = 0.4
"""Reports go up, and wishes come down, this often."""

START_SECONDS = 120.0
"""The parameter server has this long to start."""

STOP_SECONDS = 5.0
"""A parameter server that was told to stop has this long to say that it did."""

LAST = ("finished", "failed", "cancelled")
"""The reports that end an attempt."""


Work = Any
"""A ray.ObjectRef: what an actor is doing."""


class Runner:
    """One attempt at one run."""

    def __init__(self, link: ServiceLink) -> None:
        self._link = link
        self._workers: dict[Work, str] = {}
        self._ended = False
        self._cancelled: float | None = None
        self._drill = NO_FAULTS.drill(RUNNER)

    def run(self) -> None:
        """Take the run, see it through, report its outcome.

        Raises:
            ServiceGoneError: nobody wants the outcome.
        """
        assignment = self._link.take()
        spec = parse(to_document(assignment.spec))
        journal = Path(assignment.directory) / "faults.jsonl"
        faults = FaultPlan(tuple(spec.faults), self._link.attempt, journal)
        self._drill = faults.drill(RUNNER)
        ray.init(log_to_driver=False)
        try:
            server = ServerActor.remote(_plan(spec, assignment, faults))
            address = ray.get(server.address.remote(), timeout=START_SECONDS)
            self._start_workers(spec, address, assignment.worker_cpus, faults)
            self._follow(server.train.remote(), address)
        except (ray.exceptions.RayError, TimeoutError) as error:
            self._fail(f"the parameter server did not start: {_reason(error)}")
        finally:
            ray.shutdown()
        self._link.flush()

    def _start_workers(
        self, spec: RunSpec, address: ServerAddress, cpus: float, faults: FaultPlan
    ) -> None:
        for i in range(spec.workers.count):
            name = f"worker-{i}"
            actor = WorkerActor.options(num_cpus=cpus).remote()
            work = actor.work.remote(spec.job(), address, name, spec.workers.vectors, faults)
            self._workers[work] = name

    def _follow(self, training: Work, address: ServerAddress) -> None:
        """Pass reports up and wishes down until it is known how the run ended."""
        socket = connect(address, RUNNER, address.local)
        try:
            # From its first word on, the server knows where reports go.
            socket.send(runner_pb2.Command().SerializeToString())
            while not self._ended:
                self._collect(socket)
                self._exchange(socket)
                self._watch(socket, training)
        finally:
            socket.close(linger=0)

    def _collect(self, socket: zmq.Socket[bytes]) -> None:
        """Take the server's reports for SEND_SECONDS, or until the last one."""
        deadline = time.monotonic() + SEND_SECONDS
        while (left := deadline - time.monotonic()) > 0 and socket.poll(int(left * 1000) + 1):
            report = runner_pb2.RunReport.FromString(socket.recv())
            self._link.add(report)
            if report.HasField("progress"):
                self._drill.at("progress", report.progress.step)
            if report.WhichOneof("kind") in LAST:
                self._ended = True
                return

    def _exchange(self, socket: zmq.Socket[bytes]) -> None:
        """Send reports to the service; have the server stop if the service says so."""
        if self._link.send() and self._cancelled is None:
            self._cancelled = time.monotonic()
            command = runner_pb2.Command(cancel=runner_pb2.Cancel())
            socket.send(command.SerializeToString())
        if self._cancelled is not None and time.monotonic() - self._cancelled > STOP_SECONDS:
            self._end(runner_pb2.RunReport(cancelled=runner_pb2.Cancelled()))

    def _watch(self, socket: zmq.Socket[bytes], training: Work) -> None:
        """Notice actors that have ended."""
        watched = [training, *self._workers]
        done, _ = ray.wait(watched, num_returns=len(watched), timeout=0)
        for work in done:
            reason = _outcome(work)
            if work == training:
                # Its last report may still be on its way if it ended in good order.
                self._collect(socket)
                self._fail(f"the parameter server died: {reason}")
                continue
            lost = runner_pb2.WorkerLost(worker=self._workers.pop(work))
            socket.send(runner_pb2.Command(worker_lost=lost).SerializeToString())
            if not self._workers:
                self._collect(socket)
                self._fail(f"all workers are gone; the last one: {reason}")

    def _fail(self, message: str) -> None:
        self._end(runner_pb2.RunReport(failed=runner_pb2.Failed(message=message)))

    def _end(self, report: runner_pb2.RunReport) -> None:
        """The outcome, unless the server has told one already."""
        if not self._ended:
            self._ended = True
            self._link.add(report)


def _outcome(work: Work) -> str:
    """Why an actor's work is over."""
    try:
        ray.get(work, timeout=START_SECONDS)
    except Exception as error:
        return _reason(error)
    return "it ended in good order"


def _reason(error: Exception) -> str:
    """The line of a Ray error that says something; what comes before it is a remote traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _plan(spec: RunSpec, assignment: runner_pb2.TakeRunResponse, faults: FaultPlan) -> TrainingPlan:
    return TrainingPlan(
        job=spec.job(),
        descent=spec.descent,
        epochs=spec.train.epochs,
        steps=spec.train.steps,
        workers=spec.workers.count,
        weights_path=Path(assignment.directory) / "weights.safetensors",
        metadata={"name": spec.name},
        schedule=spec.train.schedule,
        warmup_steps=spec.train.warmup_steps,
        early_stopping=spec.train.early_stopping,
        non_finite=spec.train.non_finite,
        fingerprint=spec.workers.fingerprint,
        faults=faults,
    )
