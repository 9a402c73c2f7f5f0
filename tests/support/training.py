"""The parameter server and its workers in threads; the test plays the runner."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

from sumgrad.layers import (
    Affine,
    AffineReLU,
    Flatten,
    Network,
)
from sumgrad.layers.losses import (
    CrossEntropy,
)
from sumgrad.trainer.arithmetic.update_rules import SGD, Descent, Momentum, State
from sumgrad.trainer.server.parameter_server import ParameterServer
from sumgrad.trainer.server.rounds.membership import RUNNER
from sumgrad.trainer.server.training_plan import TrainingPlan
from sumgrad.trainer.v1 import run_pb2, runner_pb2
from sumgrad.workers.channel import Vectors, WorkerEndpoint, connect
from sumgrad.workers.datasets import Digits, data_digest
from sumgrad.workers.drills.drill import NO_FAULTS, FaultPlan
from sumgrad.workers.job import Job
from sumgrad.workers.serving import work
from sumgrad.workers.v1 import work_pb2
from sumgrad.workers.worker import Worker, sums_needed

from support.gradient_check import Array
from support.waiting import eventually

SECONDS = 30.0
"""Bound on every wait for something that does come."""


ROWS, TEST_ROWS = 1437, 360


BATCH, SHARDS = 128, 4


STEPS = 15
"""More than an epoch of twelve steps, the last of which is short."""


LAST = ("finished", "failed", "cancelled", "paused")


PLAN = TrainingPlan(
    job=Job(
        source=Digits(),
        layers=(Flatten(), AffineReLU(24), Affine(10)),
        loss=CrossEntropy(),
        seed=1,
        batch_size=BATCH,
        shards=SHARDS,
    ),
    descent=Descent(Momentum(0.05)),
    epochs=None,
    steps=STEPS,
    workers=1,
    weights_path=Path(),
    metadata={"name": "a test"},
)


class Background(Thread):
    """A call in a thread that nobody waits for without a bound."""

    def __init__(self, call: Callable[..., None], *arguments: object) -> None:
        super().__init__(daemon=True)
        self._call = call
        self._arguments = arguments
        self._error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self._call(*self._arguments)
        except Exception as error:
            self._error = error

    def wait(self) -> None:
        self.join(SECONDS)
        assert not self.is_alive(), "it does not end"

    def end(self) -> None:
        """Wait for its end; raises what it raised."""
        self.wait()
        if self._error is not None:
            raise self._error


class Run:
    """A server at work, and the runner's side of it.

    The server's clock stands still but for ``pass_time``, so no machine is too slow for a test.
    """

    def __init__(self, plan: TrainingPlan, names: set[str]) -> None:
        self._plan = plan
        self._now = 0.0
        self._server = server = ParameterServer(
            dataclasses.replace(plan, workers=len(names)), clock=lambda: self._now
        )
        self.address = server.address
        self._socket = connect(self.address, RUNNER, self.address.local)
        self.workers: list[Background] = []
        self._reports: list[runner_pb2.RunReport] = []
        self._training = Background(server.train)
        self.lose("nobody")  # a word, so that the server knows its runner

    def start(self, name: str, vectors: Vectors = "memory", faults: FaultPlan = NO_FAULTS) -> None:
        """Start a worker."""
        self.workers.append(Background(work, self._plan.job, self.address, name, vectors, faults))

    def lose(self, worker: str) -> None:
        self.command(runner_pb2.Command(worker_lost=runner_pb2.WorkerLost(worker=worker)))

    def cancel(self) -> None:
        self.command(runner_pb2.Command(cancel=runner_pb2.Cancel()))

    def command(self, command: runner_pb2.Command) -> None:
        self._socket.send(command.SerializeToString())

    def wait_for_answer_of(self, worker: str) -> None:
        """Wait until the server has taken the worker's answer: at what time, it measures."""
        eventually(lambda: self._server._rounds.dispatch.assigned[worker] is None)

    def pass_time(self, seconds: float) -> None:
        self._now += seconds
        self.lose("nobody")  # a word, so that the server looks at its clock

    def reports(self) -> list[runner_pb2.RunReport]:
        """Every report up to the last; the server has then ended."""
        while not self._reports or self._reports[-1].WhichOneof("kind") not in LAST:
            self._hear()
        self._training.end()
        return self._reports

    def until(self, kind: str) -> runner_pb2.RunReport:
        """The next report of a kind."""
        while self._hear().WhichOneof("kind") != kind:
            pass
        return self._reports[-1]

    def _hear(self) -> runner_pb2.RunReport:
        assert self._socket.poll(int(SECONDS * 1000)), "the server says nothing"
        self._reports.append(runner_pb2.RunReport.FromString(self._socket.recv()))
        return self._reports[-1]

    def finish(self) -> run_pb2.Result:
        """The result of a run that succeeds."""
        last = self.reports()[-1]
        for worker in self.workers:
            worker.end()
        assert last.WhichOneof("kind") == "finished", last
        return last.finished

    def fail(self) -> str:
        """The message of a run that fails."""
        last = self.reports()[-1]
        assert last.WhichOneof("kind") == "failed", last
        return last.failed.message

    def close(self) -> None:
        try:
            self.cancel()  # for a test that has failed before the end
            self._training.end()
            for worker in self.workers:
                worker.wait()
        finally:
            self._socket.close(linger=0)


@contextmanager
def running(plan: TrainingPlan, *names: str) -> Iterator[Run]:
    """A server that begins when workers of these names have joined."""
    run = Run(plan, set(names))
    try:
        yield run
    finally:
        run.close()


def train(plan: TrainingPlan, workers: int = 1, vectors: Vectors = "memory") -> run_pb2.Result:
    names = [f"w{i}" for i in range(workers)]
    with running(plan, *names) as run:
        for name in names:
            run.start(name, vectors)
        return run.finish()


@contextmanager
def played(run: Run, name: str, vectors: Vectors = "memory") -> Iterator[WorkerEndpoint]:
    """A worker played by the test; it has joined."""
    size = network().size
    with WorkerEndpoint(run.address, name, size, sums_needed(SHARDS), vectors) as endpoint:
        endpoint.join(data_digest(Digits().load()))
        yield endpoint


def word_to(endpoint: WorkerEndpoint) -> work_pb2.ServerMessage:
    """The next message to a played worker that is not a ping."""
    while True:
        message = endpoint.receive(SECONDS)
        assert message is not None, "nothing has arrived"
        if message.WhichOneof("kind") != "ping":
            return message


def task_of(endpoint: WorkerEndpoint) -> work_pb2.Task:
    """The next task of a played worker."""
    message = word_to(endpoint)
    assert message.WhichOneof("kind") == "task"
    return message.task


def answer_truly(endpoint: WorkerEndpoint, task: work_pb2.Task) -> None:
    """Do what a worker does with a task."""
    endpoint.answer(
        *Worker(PLAN.job, Digits().load(), endpoint.weights, endpoint.sums).compute(task)
    )


def assert_stopped(endpoint: WorkerEndpoint) -> None:
    assert word_to(endpoint).WhichOneof("kind") == "stop"


def network() -> Network:
    return Network(PLAN.job.layers, (8, 8, 1))


@dataclass(frozen=True)
class Noting(SGD):
    """Notes rate and number of every step; its networks are a single block."""

    noted: list[tuple[float, int]] = field(default_factory=list)

    def update(
        self, weights: Array, gradient: Array, state: State, learning_rate: float, step: int
    ) -> None:
        self.noted.append((learning_rate, step))
        super().update(weights, gradient, state, learning_rate, step)


OVERSHOOTING = Descent(Momentum(0.5))
"""E_out rises and falls from epoch to epoch."""


def epochs_of(plan: TrainingPlan) -> tuple[list[run_pb2.Epoch], run_pb2.Result]:
    """The epochs of a run on one worker, and its result."""
    with running(plan, "w") as run:
        run.start("w")
        reports = run.reports()
        run.workers[0].end()
    epochs = [report.epoch for report in reports if report.WhichOneof("kind") == "epoch"]
    return epochs, reports[-1].finished
