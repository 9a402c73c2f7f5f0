"""What an attempt decides: events and times in, instructions out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sumgrad.trainer.runner.attempt import (
    OUTCOMES,
    PLACE_SECONDS,
    RESTARTS,
    START_SECONDS,
    STOP_SECONDS,
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
from sumgrad.trainer.runner.worker_group import StartWorker
from sumgrad.trainer.v1 import run_pb2, runner_pb2

RunReport = runner_pb2.RunReport
Command = runner_pb2.Command

FINISHED = RunReport(finished=run_pb2.Result(steps=9))
PAUSED = RunReport(paused=runner_pb2.Paused(step=4))
CANCELLED = RunReport(cancelled=runner_pb2.Cancelled())
CANCEL = Send(Command(cancel=runner_pb2.Cancel()))
PAUSE = Send(Command(pause=runner_pb2.Pause()))


def failed(message: str) -> RunReport:
    return RunReport(failed=runner_pb2.Failed(message=message))


def warning(message: str) -> RunReport:
    return RunReport(warning=run_pb2.Warning(message=message))


def restarted(reason: str) -> RunReport:
    return RunReport(restarted=run_pb2.Restarted(reason=reason))


def step(number: int) -> Reported:
    return Reported(RunReport(progress=run_pb2.Progress(step=number)))


def joined(worker: str) -> Reported:
    return Reported(RunReport(membership=run_pb2.Membership(worker=worker, joined=True)))


def lost(worker: str, reason: str = "it died") -> Send:
    return Send(Command(worker_lost=runner_pb2.WorkerLost(worker=worker, reason=reason)))


def retired(worker: str) -> Send:
    return Send(Command(worker_retired=runner_pb2.WorkerRetired(worker=worker)))


def died(worker: str) -> WorkerEnded:
    return WorkerEnded(worker, "it died")


def ending(report: RunReport, of_server: bool = False, **end: bool) -> list[Instruction]:
    return [Report(report, of_server), StopProcesses(), End(**end)]


START = [StartServer(2), StartWorker("worker-0"), StartWorker("worker-1")]
PLACED = [(0, WorkerPlaced("worker-0"), []), (0, WorkerPlaced("worker-1"), [])]
RUNNING = [(0, Began(), START), (0, ServerStarted(), []), *PLACED]

Line = tuple[float, Event, list[Instruction]]
"""When what happens, and what is to be done."""


def play(*lines: Line, shared: bool = True) -> Attempt:
    """An attempt with two workers to which this happens, line by line."""
    attempt = Attempt(workers=2, shared=shared)
    for now, event, expected in lines:
        assert attempt.handle(event, now) == expected, f"at {now}: {event}"
    return attempt


COURSES: dict[str, list[Any]] = {
    "a run that finishes": [
        *RUNNING,
        (1, step(1), [Report(step(1).report, of_server=True)]),
        (2, Reported(FINISHED), ending(FINISHED, True, keeps_snapshots=False)),
    ],
    "a run that pauses": [
        *RUNNING,
        (1, Requested(pause=True), [PAUSE]),
        (2, Requested(pause=True), []),
        (3, Reported(PAUSED), ending(PAUSED, True, keeps_folder=True)),
    ],
    "a server that reports a failure": [
        *RUNNING,
        (1, Reported(failed("NaN")), ending(failed("NaN"), True)),
    ],
    "another server is told again to pause": [
        *RUNNING,
        (1, Requested(pause=True), [PAUSE]),
        (2, ServerDied("it fell"), [Report(restarted("it fell")), StopProcesses(), *START]),
        (3, Requested(pause=True), []),
        (4, ServerStarted(), []),
        (5, Requested(pause=True), [PAUSE]),
    ],
    # Cancellation.
    "a server that is told to cancel and does": [
        *RUNNING,
        (1, Requested(cancel=True), [CANCEL]),
        (2, Requested(cancel=True), []),
        (3, Reported(CANCELLED), ending(CANCELLED, True)),
    ],
    "a server that is told to cancel and does not": [
        *RUNNING,
        (1, Requested(cancel=True), [CANCEL]),
        (1 + STOP_SECONDS, Tick(), []),
        (1.1 + STOP_SECONDS, Tick(), ending(CANCELLED)),
    ],
    "a server that dies while it cancels": [
        *RUNNING,
        (1, Requested(cancel=True), [CANCEL]),
        (2, ServerDied("it fell"), ending(CANCELLED)),
    ],
    "a run that finishes before it is cancelled": [
        *RUNNING,
        (1, Requested(cancel=True), [CANCEL]),
        (2, Reported(FINISHED), ending(FINISHED, True, keeps_snapshots=False)),
    ],
    "a server is not waited for that has not started": [
        (0, Began(), START),
        (1, Requested(cancel=True), ending(CANCELLED)),
    ],
    # Servers that die.
    "a server that cannot be made": [
        (0, Began(), START),
        (1, ServerRefused("no rows"), ending(failed("the parameter server cannot start: no rows"))),
    ],
    "a server that does not start in time": [
        (5, Began(), START),
        (5 + START_SECONDS, Tick(), []),
        (
            5.1 + START_SECONDS,
            Tick(),
            [Report(restarted("it has not started in 120 s")), StopProcesses(), *START],
        ),
        (5.1 + 2 * START_SECONDS, Tick(), []),
    ],
    "servers that die in a row": [
        *RUNNING,
        (1, ServerDied("one"), [Report(restarted("one")), StopProcesses(), *START]),
        (2, ServerDied("two"), [Report(restarted("two")), StopProcesses(), *START]),
        (
            3,
            ServerDied("three"),
            ending(failed("the parameter server died 3 times in a row: three")),
        ),
    ],
    "a step that is new forgives the deaths before it": [
        *RUNNING,
        (1, ServerDied("one"), [Report(restarted("one")), StopProcesses(), *START]),
        (2, ServerDied("two"), [Report(restarted("two")), StopProcesses(), *START]),
        (3, step(7), [Report(step(7).report, of_server=True)]),
        (4, ServerDied("one"), [Report(restarted("one")), StopProcesses(), *START]),
        (5, step(7), [Report(step(7).report, of_server=True)]),
        (6, ServerDied("two"), [Report(restarted("two")), StopProcesses(), *START]),
        (7, step(6), [Report(step(6).report, of_server=True)]),
        (8, ServerDied("x"), ending(failed("the parameter server died 3 times in a row: x"))),
    ],
    # Workers.
    "a worker that dies is replaced": [
        *RUNNING,
        (1, died("worker-1"), [lost("worker-1"), StartWorker("worker-1.1")]),
    ],
    "a slot that fails": [
        *RUNNING,
        (1, died("worker-1"), [lost("worker-1"), StartWorker("worker-1.1")]),
        (2, died("worker-1.1"), [lost("worker-1.1"), StartWorker("worker-1.2")]),
        (
            3,
            died("worker-1.2"),
            [
                lost("worker-1.2"),
                *ending(
                    failed(
                        "worker slot 1 failed 3 times in a row without an answer; the last time: "
                        "it died"
                    )
                ),
            ],
        ),
    ],
    "a slot whose workers contribute does not fail": [
        *RUNNING,
        (1, died("worker-1"), [lost("worker-1"), StartWorker("worker-1.1")]),
        (2, died("worker-1.1"), [lost("worker-1.1"), StartWorker("worker-1.2")]),
        (3, joined("worker-1.2"), [Report(joined("worker-1.2").report, of_server=True)]),
        (4, died("worker-1.2"), [lost("worker-1.2"), StartWorker("worker-1.3")]),
    ],
    "a slot whose workers are refused": [
        *RUNNING,
        *(
            (
                generation,
                WorkerEnded(name, "other bits", refused=True),
                [lost(name, "other bits"), StartWorker(f"worker-1.{generation}")],
            )
            for generation, name in enumerate(("worker-1", "worker-1.1"), start=1)
        ),
        (
            3,
            WorkerEnded("worker-1.2", "other bits", refused=True),
            [
                lost("worker-1.2", "other bits"),
                Report(
                    warning(
                        "worker slot 1 stays empty, because its workers are refused again and "
                        "again; the last time: other bits"
                    )
                ),
            ],
        ),
    ],
    "a worker that the server expels": [
        *RUNNING,
        (
            1,
            Reported(RunReport(expel=runner_pb2.ExpelWorker(worker="worker-0", reason="silent"))),
            [KillWorker("worker-0"), Report(warning("silent"), of_server=True)],
        ),
        (2, died("worker-0"), [lost("worker-0"), StartWorker("worker-0.1")]),
    ],
    # Scaling.
    "more workers": [
        *RUNNING,
        (1, Requested(workers=3), [StartWorker("worker-2")]),
        (2, Requested(workers=3), []),
        (3, Requested(), []),
    ],
    "fewer workers": [
        *RUNNING,
        (1, Requested(workers=1), [retired("worker-1")]),
        (2, WorkerEnded("worker-1", "it ended in good order"),
         [lost("worker-1", "it ended in good order")]),
    ],
    "a server that starts later has the workers that are wanted by then": [
        (0, Began(), START),
        (1, Requested(workers=1), []),
        (
            2,
            ServerDied("x"),
            [Report(restarted("x")), StopProcesses(), StartServer(1), StartWorker("worker-0")],
        ),
    ],
    "a number that is asked for while the server starts is brought about afterwards": [
        (0, Began(), START),
        (1, Requested(workers=1), []),
        (2, ServerStarted(), []),
        (3, Requested(workers=1), [retired("worker-1")]),
    ],
    # Placement.
    "a worker that waits for CPUs": [
        (0, Began(), START),
        (0, ServerStarted(), []),
        (1, WorkerPlaced("worker-0"), []),
        (PLACE_SECONDS, Tick(), []),
        (
            PLACE_SECONDS + 1,
            Tick(),
            [Report(warning("worker-1 waits for CPUs: Ray has not placed it in 30 s"))],
        ),
        (PLACE_SECONDS + 100, Tick(), []),
    ],
    "a worker that ended does not wait": [
        (0, Began(), START),
        (0, ServerStarted(), []),
        (1, WorkerPlaced("worker-0"), []),
        (20, died("worker-1"), [lost("worker-1"), StartWorker("worker-1.1")]),
        (PLACE_SECONDS + 1, Tick(), []),
        (
            PLACE_SECONDS + 21,
            Tick(),
            [Report(warning("worker-1.1 waits for CPUs: Ray has not placed it in 30 s"))],
        ),
    ],
}  # fmt: skip


@pytest.mark.parametrize("course", COURSES)
def test_what_is_done(course: str) -> None:
    play(*COURSES[course])


def test_weights_are_sent_where_the_service_does_not_reach_the_folder() -> None:
    stored = RunReport(finished=run_pb2.Result(steps=9, weights_path="/service/weights"))
    play(
        *RUNNING,
        (1, Reported(FINISHED), [StoreWeights()]),
        (2, WeightsStored("/service/weights"), ending(stored, True, keeps_snapshots=False)),
        shared=False,
    )
    assert not FINISHED.finished.weights_path, "the server's own report is left as it is"


def test_weights_that_the_service_refuses_fail_the_run_and_are_kept() -> None:
    message = "the service did not take the weights: full; they lie on host h in /w"
    play(
        *RUNNING,
        (1, Reported(FINISHED), [StoreWeights()]),
        (2, WeightsRefused("full", "on host h in /w"), ending(failed(message), keeps_folder=True)),
        shared=False,
    )


def test_nothing_follows_the_end() -> None:
    attempt = play(*RUNNING, (1, Reported(FINISHED), ending(FINISHED, True, keeps_snapshots=False)))
    assert attempt.over
    for event in (ServerDied("late"), died("worker-0"), Requested(cancel=True), Tick(), step(10)):
        assert attempt.handle(event, 1000.0) == []


# --- whatever happens, in whatever order ----------------------------------------------------------


class World:
    """Processes as instructions make them; refuses instructions that make no sense."""

    def __init__(self, shared: bool) -> None:
        self.attempt = Attempt(workers=2, shared=shared)
        self.now = 0.0
        self.server = self.connected = self.sending = self.ended = False
        self.workers: set[str] = set()
        self.names: set[str] = set()
        self.outcomes: list[str] = []
        self.cancelled: float | None = None
        self.last_step = self.deaths = 0
        self.happens(Began())

    def happens(self, event: Event) -> None:
        if isinstance(event, ServerStarted):
            self.connected = True
        if isinstance(event, Requested) and event.cancel and self.cancelled is None:
            self.cancelled = self.now
        for instruction in self.attempt.handle(event, self.now):
            self._do(instruction)
        assert self.ended == self.attempt.over

    def _do(self, instruction: Instruction) -> None:
        assert not self.ended, f"{instruction} after the end"
        match instruction:
            case StartServer():
                assert not self.server, "two servers at once"
                self.server, self.connected = True, False
            case StartWorker(name):
                assert self.server
                assert name not in self.names, "a server sees a name twice"
                self.workers.add(name)
                self.names.add(name)
            case Send():
                assert self.connected, "a command to a server that has not started"
            case StopProcesses():
                self.server = self.connected = False
                self.workers, self.names = set(), set()
            case Report(report):
                kind = report.WhichOneof("kind")
                assert not self.outcomes, "a report after the outcome"
                self.outcomes += [kind] if kind in OUTCOMES else []
            case StoreWeights():
                self.sending = True
            case End():
                assert not self.server, "the server outlives the attempt"
                assert len(self.outcomes) == 1
                self.ended = True


@pytest.mark.slow
@given(st.data())
def test_every_attempt_ends_once_and_in_time(data: st.DataObject) -> None:
    world = World(data.draw(st.booleans(), "shared"))
    reports = st.one_of(
        st.integers(1, 5).map(step),
        st.sampled_from([Reported(FINISHED), Reported(PAUSED), Reported(failed("NaN"))]),
    )
    requests = st.builds(Requested, st.integers(0, 4), st.booleans(), st.booleans())
    for _ in range(data.draw(st.integers(1, 40), "events")):
        if world.ended:
            break
        if world.sending:
            answers = [WeightsStored("/w"), WeightsRefused("full", "here")]
            world.happens(data.draw(st.sampled_from(answers)))
            continue
        world.now += data.draw(st.sampled_from([0.0, 0.4, 3.0, 40.0, 130.0]))
        possible = [st.just(Tick()), requests, st.just(ServerDied("it fell"))]
        if world.connected:
            possible.append(reports)
            workers = st.sampled_from(sorted(world.workers)) if world.workers else st.nothing()
            possible.append(st.builds(WorkerEnded, workers, st.just("x"), st.booleans()))
            possible.append(workers.map(WorkerPlaced))
        else:
            possible += [st.just(ServerStarted()), st.just(ServerRefused("no rows"))]
        event = data.draw(st.one_of(possible))
        world.happens(event)
        if isinstance(event, WorkerEnded):
            world.workers.discard(event.name)
        if isinstance(event, Tick) and world.cancelled is not None:
            late = world.now - world.cancelled > STOP_SECONDS
            assert world.ended or not late, "a cancelled run goes on"
    while not world.ended and not world.sending:
        world.happens(ServerDied("it fell"))
        world.deaths += 1
        assert world.deaths <= RESTARTS
