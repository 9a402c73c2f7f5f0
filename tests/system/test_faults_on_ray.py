"""Processes of real runs are killed, stopped and started again: every run ends with the same bits.

One service and its Ray for all. The runs that need nothing of the test are submitted together, and
the queue has two of them at work at a time. Nothing is left to luck: a fault that the test causes
itself meets a parameter server that a fault of the run has stopped in a known step.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sumgrad.trainer.cli.exit_codes import ExitCode
from sumgrad.trainer.client import Client
from sumgrad.trainer.v1 import run_pb2

from support.commands import Serve, events, nothing_is_left, processes, short_folder
from support.leftovers import shared_files
from support.waiting import eventually

STEPS = 600
EVERY = 50
"""Steps between snapshots."""

STEP = 300
"""Where things go wrong."""

LATER = 400
WORKERS = ("worker-0", "worker-1", "worker-2")

SECONDS = 120.0
"""Bound of every wait; a run takes a few seconds where nothing else is at work."""

Document = dict[str, Any]


def specification(workers: int, *faults: Document) -> Document:
    return {
        "name": "faults",
        "seed": 3,
        "data": {"type": "digits"},
        "model": {
            "layers": [{"type": "affine_relu", "units": 24}, {"type": "affine", "units": 10}],
            "loss": "cross_entropy",
        },
        "train": {
            "steps": STEPS,
            "batch_size": 64,
            "shards": 4,
            "update": {"rule": "momentum", "learning_rate": 0.05},
        },
        "workers": {"count": workers},
        "snapshots": {"every_steps": EVERY},
        "faults": list(faults),
    }


def fault(target: str, point: str, action: str, step: int = STEP, **more: Any) -> Document:
    return {"target": target, "step": step, "point": point, "action": action, **more}


# When it is over, a snapshot that has begun is on the disk and progress up to here is reported.
WAIT = fault("server", "gathered", "delay", seconds=1.0)

RUNS = {
    "undisturbed": specification(1),
    "every worker": specification(
        2, fault("worker-0", "compute", "kill"), fault("worker-1", "answer", "kill")
    ),
    "the same worker again and again": specification(
        1, *(fault("worker-0", "answer", "kill", step) for step in (100, 200, 300))
    ),
    "a worker that always dies": specification(
        1, fault("worker-0", "compute", "kill", 1, every_attempt=True)
    ),
    "server and worker": specification(
        2, fault("worker-0", "answer", "kill"), fault("server", "gathered", "kill")
    ),
    "runner": specification(1, WAIT, fault("runner", "progress", "kill")),
    "one worker, three, two": specification(
        3,
        fault("server", "applied", "stop"),
        *(fault(worker, "compute", "stop", LATER) for worker in WORKERS),
    ),
}


class Lab:
    """The service and the runs that it has been given."""

    def __init__(self, serve: Serve) -> None:
        self.serve = serve
        self.ids: dict[str, str] = {}

    def submit(self, document: Document) -> str:
        with self.client() as client:
            return client.submit(document).id

    def wait_for_others(self, run_id: str) -> None:
        """Until the runs that were submitted together have ended, but for this one."""
        for other in set(self.ids.values()) - {run_id}:
            self.end(other)

    def client(self) -> Client:
        return Client(self.serve.address)

    def events(self, run_id: str, kind: str) -> list[Any]:
        found = events(self.serve.temporary, run_id)
        return [getattr(event, kind) for event in found if event.HasField(kind)]

    def fired(self, run_id: str) -> list[Document]:
        path = self.serve.temporary / "state" / "runs" / run_id / "faults.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def end(self, run_id: str) -> run_pb2.Run:
        """The run when it has ended."""

        def ended() -> run_pb2.Run | None:
            with self.client() as client:
                run = client.get(run_id)
            return run if run.HasField("ended") else None

        found = eventually(ended, SECONDS)
        assert found is not None
        return found

    def course(self, run_id: str) -> tuple[Any, ...]:
        """What may not depend on faults: steps, rows that were read, figures, weights."""
        run = self.end(run_id)
        assert run.state == run_pb2.RUN_STATE_SUCCEEDED, run.message
        last = self.events(run_id, "progress")[-1]
        result = run.result
        return (
            (last.step, last.samples, last.e_in, last.skipped_steps),
            (result.steps, result.epochs, result.e_in, result.e_out, result.accuracy),
            result.weights_digest,
        )

    def assert_undisturbed(self, run_id: str) -> None:
        assert self.course(run_id) == self.course(self.ids["undisturbed"])

    def assert_fired(self, run_id: str, *expected: tuple[str, int]) -> None:
        found = [(one["target"], one["step"]) for one in self.fired(run_id)]
        assert sorted(found) == sorted(expected)

    def processes(self, *names: str) -> list[int]:
        """The service's processes of these names."""
        found = processes(self.serve.temporary)
        return [pid for pid, line in found.items() if any(name in line for name in names)]


OF_A_RUN = ("sumgrad.trainer.runner", "ray::_Server", "ray::_Worker")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    shared_memory = shared_files()
    with short_folder() as folder:
        serve = Serve(folder)
        try:
            serve.ready()
            lab = Lab(serve)
            lab.ids = {name: lab.submit(document) for name, document in RUNS.items()}
            # It waits behind the others, and begins with one worker.
            with lab.client() as client:
                run = client.scale(lab.ids["one worker, three, two"], 1)
            assert run.state == run_pb2.RUN_STATE_QUEUED
            yield lab
            eventually(lambda: not lab.processes(*OF_A_RUN), SECONDS)
            assert serve.terminate() == ExitCode.OK
        finally:
            serve.close()
            eventually(lambda: nothing_is_left(folder), SECONDS)
    eventually(lambda: shared_files() <= shared_memory)


def left(lab: Lab, run_id: str) -> list[tuple[str, int]]:
    """Which workers left, and after how many steps."""
    found = lab.events(run_id, "membership")
    return [(one.worker, one.step) for one in found if not one.joined]


def test_every_worker_is_killed(lab: Lab) -> None:
    run_id = lab.ids["every worker"]
    lab.assert_undisturbed(run_id)
    lab.assert_fired(run_id, ("worker-0", STEP), ("worker-1", STEP))
    assert sorted(left(lab, run_id)) == [("worker-0", STEP - 1), ("worker-1", STEP - 1)]
    assert lab.events(run_id, "restarted") == lab.events(run_id, "resumed") == []


def test_the_same_worker_is_killed_again_and_again(lab: Lab) -> None:
    run_id = lab.ids["the same worker again and again"]
    lab.assert_undisturbed(run_id)
    lab.assert_fired(run_id, *(("worker-0", step) for step in (100, 200, 300)))
    names = ("worker-0", "worker-0.1", "worker-0.2")
    assert left(lab, run_id) == list(zip(names, (99, 199, 299), strict=True))


def test_a_worker_that_always_dies_fails_its_run_by_name(lab: Lab) -> None:
    run_id = lab.ids["a worker that always dies"]
    run = lab.end(run_id)
    assert run.state == run_pb2.RUN_STATE_FAILED
    start = "worker slot 0 failed 3 times in a row without an answer; the last time: "
    assert run.message.startswith(start)
    lab.assert_fired(run_id, *[("worker-0", 1)] * 3)


def test_server_and_worker_are_killed_in_the_same_step(lab: Lab) -> None:
    run_id = lab.ids["server and worker"]
    lab.assert_undisturbed(run_id)
    lab.assert_fired(run_id, ("worker-0", STEP), ("server", STEP))
    [restarted] = lab.events(run_id, "restarted")
    assert restarted.reason == "The actor is dead because its worker process has died."
    [resumed] = lab.events(run_id, "resumed")
    assert EVERY <= resumed.step < STEP
    assert lab.end(run_id).attempt == 1


def test_the_runner_is_killed(lab: Lab) -> None:
    run_id = lab.ids["runner"]
    lab.assert_undisturbed(run_id)
    lab.assert_fired(run_id, ("server", STEP), ("runner", STEP))
    assert_went_on(lab, run_id, "its runner died")


def assert_went_on(lab: Lab, run_id: str, reason: str) -> None:
    """In a second attempt, from a snapshot, and for this reason."""
    assert lab.end(run_id).attempt == 2
    [resumed] = lab.events(run_id, "resumed")
    assert EVERY <= resumed.step < STEPS
    queued = [
        change.message
        for change in lab.events(run_id, "state_change")
        if change.state == run_pb2.RUN_STATE_QUEUED
    ]
    assert len(queued) == 2
    assert queued[1].startswith(reason)


def stopped(lab: Lab, run_id: str, *targets: str) -> dict[str, int]:
    """The processes of these targets, once all of them are stopped."""

    def found() -> dict[str, int] | None:
        fired = {one["target"]: one for one in lab.fired(run_id) if one["action"] == "stop"}
        if not set(targets) <= set(fired):
            return None
        pids = {target: fired[target]["process"] for target in targets}
        return pids if all(map(_is_stopped, pids.values())) else None

    pids = eventually(found, SECONDS)
    assert pids is not None
    return pids


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def go_on(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def test_one_worker_becomes_three_and_then_two(lab: Lab) -> None:
    run_id = lab.ids["one worker, three, two"]
    lab.wait_for_others(run_id)
    server = stopped(lab, run_id, "server")["server"]
    with lab.client() as client:
        assert client.scale(run_id, 3).workers == 3
        eventually(lambda: len(lab.processes("ray::_Worker.work")) == 3, SECONDS)
        go_on(server)
        pids = stopped(lab, run_id, *WORKERS)
        assert client.scale(run_id, 2).workers == 2
    # One call may have been answered before, one is answered with the wish, and the runner has
    # passed it on to the server before it calls again.
    calls = reports(lab)
    eventually(lambda: reports(lab) >= calls + 3, SECONDS)
    go_on(pids["worker-2"])
    eventually(lambda: left(lab, run_id), SECONDS)
    go_on(pids["worker-0"], pids["worker-1"])
    lab.assert_undisturbed(run_id)
    members = lab.events(run_id, "membership")
    assert {one.worker for one in members if one.joined} == set(WORKERS)
    [gone] = [one for one in members if not one.joined]
    assert (gone.worker, gone.reason) == ("worker-2", "worker-2 was retired")
    assert lab.end(run_id).result.workers == 2
    lab.assert_fired(run_id, ("server", STEP), *((worker, LATER) for worker in WORKERS))


def reports(lab: Lab) -> float:
    """Calls of runners that the service has answered."""
    start = (
        'sumgrad_grpc_requests_total{code="OK",method="/sumgrad.trainer.v1.RunnerService/Report"}'
    )
    lines = lab.serve.metrics().splitlines()
    return float(next(line for line in lines if line.startswith(start)).split()[-1])


def run_with_a_stopped_server(lab: Lab) -> str:
    """A run that cannot end before it is struck; it goes on in another attempt only."""
    run_id = lab.submit(specification(2, WAIT, fault("server", "applied", "stop")))
    stopped(lab, run_id, "server")
    return run_id


def test_rays_head_is_killed(lab: Lab) -> None:
    run_id = run_with_a_stopped_server(lab)
    [head] = lab.processes("gcs_server")
    os.kill(head, signal.SIGKILL)
    lab.assert_undisturbed(run_id)
    assert_went_on(lab, run_id, "the Ray cluster died")
    lab.assert_fired(run_id, ("server", STEP), ("server", STEP))


def test_the_service_is_killed(lab: Lab) -> None:
    run_id = run_with_a_stopped_server(lab)
    lab.serve.kill()
    eventually(lambda: nothing_is_left(lab.serve.temporary), SECONDS)
    lab.serve.start()
    lab.assert_undisturbed(run_id)
    assert_went_on(lab, run_id, "its service ended")
    lab.assert_fired(run_id, ("server", STEP), ("server", STEP))
