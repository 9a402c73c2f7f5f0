"""The service over real gRPC, with a real store; Ray and the runners are played by the test."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_status import rpc_status

from sumgrad.trainer.cli.verbs.pause import pause
from sumgrad.trainer.client import (
    Client,
    ClientError,
    ElsewhereError,
    EndedError,
    NotFoundError,
    RunHandle,
    UnreachableError,
)
from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.server.rounds.step_times import StepTimes
from sumgrad.trainer.service.cluster import attempt_policy
from sumgrad.trainer.service.cluster.launcher import JobState, Launch
from sumgrad.trainer.service.cluster.ray_api import RayError
from sumgrad.trainer.service.queue.scheduling import WORKERS_PER_CORE
from sumgrad.trainer.service.runs import runs as runs_module
from sumgrad.trainer.service.runs import transitions, watching
from sumgrad.trainer.service.runs.stored_run import StoredRun
from sumgrad.trainer.service.service import Service
from sumgrad.trainer.service.settings import Settings
from sumgrad.trainer.service.store.run_store import RunStore
from sumgrad.trainer.service.store.store_errors import StoreUnavailableError
from sumgrad.trainer.service.takeover import takeover
from sumgrad.trainer.service.takeover.instance import Instance
from sumgrad.trainer.spec.messages import to_message
from sumgrad.trainer.spec.parse import parse
from sumgrad.trainer.spec.violations import InvalidSpecError
from sumgrad.trainer.v1 import run_pb2, runner_pb2, service_pb2, service_pb2_grpc

from support.services import (
    CORES,
    FakeLauncher,
    Loop,
    PlayedRunner,
    RunningService,
    StartService,
    on_both_databases,
)
from support.waiting import eventually

QUEUED = run_pb2.RUN_STATE_QUEUED
LAUNCHING = run_pb2.RUN_STATE_LAUNCHING
RUNNING = run_pb2.RUN_STATE_RUNNING
SUCCEEDED = run_pb2.RUN_STATE_SUCCEEDED
FAILED = run_pb2.RUN_STATE_FAILED
CANCELLED = run_pb2.RUN_STATE_CANCELLED
PAUSED = run_pb2.RUN_STATE_PAUSED

RESULT = run_pb2.Result(steps=46, epochs=2, accuracy=0.9, weights_digest="abc", workers=2)
Watched = list[service_pb2.WatchRunResponse]


def stub(service: RunningService) -> Any:
    return service_pb2_grpc.TrainerServiceStub(service.channel)


@contextmanager
def refused(code: grpc.StatusCode) -> Iterator[pytest.ExceptionInfo[grpc.RpcError]]:
    with pytest.raises(grpc.RpcError) as caught:
        yield caught
    assert caught.value.code() == code


def progress(step: int) -> run_pb2.Progress:
    return run_pb2.Progress(epoch=1, epochs=2, step=step, steps=46, samples=64 * step, workers=2)


def submit_and_take(
    service: RunningService, document: dict[str, Any]
) -> tuple[RunHandle, PlayedRunner]:
    """A run that is running."""
    run = service.client.submit(document)
    runner = service.next_runner()
    runner.take()
    return run, runner


def sequences(responses: Watched) -> list[int]:
    return [response.event.sequence for response in responses if response.HasField("event")]


def history_of(state: Path, run_id: str, url: str | None = None) -> list[run_pb2.Event]:
    """Every event of a run, from the store of a service that has stopped or not."""
    store = RunStore(url or state / "runs.db")
    try:
        return store.events(run_id, 0, 10_000)
    finally:
        store.close()


class Watcher:
    """Watches a run in a thread; what comes is there to be waited for."""

    def __init__(self, address: str, run_id: str) -> None:
        self._arrived: queue.Queue[service_pb2.WatchRunResponse | None] = queue.Queue()
        self._thread = threading.Thread(target=self._watch, args=(address, run_id))
        self._thread.start()

    def _watch(self, address: str, run_id: str) -> None:
        with Client(address) as client:
            for response in client.watch(run_id):
                self._arrived.put(response)
        self._arrived.put(None)

    def next(self) -> service_pb2.WatchRunResponse:
        response = self._arrived.get(timeout=30)
        assert response is not None, "the stream has ended"
        return response

    def rest(self) -> Watched:
        """What comes until the stream ends."""
        found = list(iter(lambda: self._arrived.get(timeout=30), None))
        self._thread.join()
        return found


# --- submitting and asking ----------------------------------------------------------------------


def test_a_submitted_run_is_stored_and_launched(
    service: RunningService, document: dict[str, Any]
) -> None:
    run = service.client.submit(document).info
    assert run.spec == to_message(parse(document))
    assert run.HasField("created")
    launch = service.launcher.next_launch()
    assert (launch.run_id, launch.attempt, launch.service) == (run.id, 1, service.address)
    assert len(launch.token) >= 32
    assert service.client.get(run.id).state == LAUNCHING


def test_a_runner_is_told_what_to_do_and_where(
    service: RunningService, document: dict[str, Any], tmp_path: Path
) -> None:
    run = service.client.submit(document)
    assignment = service.next_runner().take()
    assert assignment.spec == run.info.spec
    assert assignment.directory == str(tmp_path / "state" / "runs" / run.id)
    assert assignment.worker_cpus == 1 / (CORES * WORKERS_PER_CORE)
    taken = service.client.get(run.id)
    assert (taken.state, taken.attempt) == (RUNNING, 1)
    assert taken.HasField("started")


def test_the_token_of_a_run_is_told_to_no_client(
    service: RunningService, document: dict[str, Any]
) -> None:
    run = service.client.submit(document)
    token = service.launcher.next_launch().token
    assert token not in str(service.client.get(run.id))
    assert token not in str(next(iter(service.client.watch(run.id))))


def test_workers_that_share_cores_are_warned_of(
    service: RunningService, document: dict[str, Any]
) -> None:
    run = service.client.submit(document, workers=4)
    assert list(run.info.warnings) == [
        "4 workers share 2 cores; they will not be faster than one a core"
    ]
    assert service.next_runner().take().workers == 4


def test_every_mistake_of_a_specification_is_a_field_violation_and_nothing_is_stored(
    service: RunningService, document: dict[str, Any]
) -> None:
    message = to_message(parse(document))
    message.seed = -1
    message.model.layers[1].affine.units = 0
    message.train.update.momentum.learning_rate = float("nan")
    with refused(grpc.StatusCode.INVALID_ARGUMENT) as caught:
        stub(service).SubmitRun(service_pb2.SubmitRunRequest(spec=message), timeout=30)
    assert caught.value.details() == "seed: must be ≥ 0, got -1 (and 2 more)"
    detail, _ = rpc_status.from_call(caught.value).details
    bad_request = error_details_pb2.BadRequest()
    assert detail.Unpack(bad_request)
    assert [(v.field, v.description) for v in bad_request.field_violations] == [
        ("seed", "must be ≥ 0, got -1"),
        ("model.layers[1].units", "must be ≥ 1, got 0"),
        ("train.update.learning_rate", "must be a finite number > 0, got nan"),
    ]
    assert service.client.list() == []
    assert service.launcher.launched.empty()


@pytest.mark.parametrize(
    ("setting", "mistake"),
    [
        ("train.batch_size=1438", "train.batch_size: must be at most the 1437 training rows"),
        ("model.layers[1].units=9", "model.loss: cross_entropy needs scores of shape (10,)"),
        ("workers.count=5", "workers.count: must be at most the 4 shards of a batch, got 5"),
        ("data={type='npz', path='/nowhere'}", "data.path: '/nowhere' cannot be read"),
    ],
)
def test_what_only_the_service_can_check_comes_back_as_the_same_error(
    service: RunningService, document: dict[str, Any], setting: str, mistake: str
) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        service.client.submit(document, set=(setting,))
    assert str(caught.value).startswith(mistake)


def test_a_relative_path_means_nothing_to_the_service(
    service: RunningService, document: dict[str, Any]
) -> None:
    document["data"] = {"type": "npz", "path": "here"}
    with pytest.raises(InvalidSpecError, match=r"^data\.path: must be absolute here, got 'here'$"):
        service.client.submit(document)
    assert service.client.list() == []


def test_more_workers_than_the_cores_can_share_are_refused(
    service: RunningService, document: dict[str, Any]
) -> None:
    with pytest.raises(InvalidSpecError, match=r"^workers\.count: must be at most 8 here, got 9"):
        service.client.submit(document, workers=9, set=("train.shards=16",))


def test_a_specification_with_very_many_mistakes_is_answered(service: RunningService) -> None:
    layers = [run_pb2.Layer(affine=run_pb2.Affine(units=0))] * 1000
    spec = run_pb2.RunSpec(model=run_pb2.Model(layers=layers))
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        stub(service).SubmitRun(service_pb2.SubmitRunRequest(spec=spec), timeout=30)


@pytest.mark.slow
def test_a_message_above_the_limit_is_refused(service: RunningService) -> None:
    spec = run_pb2.RunSpec(name="x" * (5 * 2**20))
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED):
        stub(service).SubmitRun(service_pb2.SubmitRunRequest(spec=spec), timeout=30)


@pytest.mark.parametrize("call", ["get", "cancel", "wait"])
def test_a_run_that_does_not_exist_is_not_found(service: RunningService, call: str) -> None:
    with pytest.raises(NotFoundError, match="there is no run 'r-9'; `sumgrad list` shows all"):
        getattr(service.client, call)("r-9")


def test_runs_are_listed_newest_first_in_pages(
    service: RunningService, document: dict[str, Any]
) -> None:
    ids = [service.client.submit(document).id for _ in range(5)][::-1]
    pages, token = [], ""
    while True:
        request = service_pb2.ListRunsRequest(page_size=2, page_token=token)
        page = stub(service).ListRuns(request, timeout=30)
        pages.append([run.id for run in page.runs])
        if not (token := page.next_page_token):
            break
    assert pages == [ids[:2], ids[2:4], ids[4:]]
    assert [run.id for run in service.client.list()] == ids
    assert [run.id for run in service.client.list(3)] == ids[:3]


@pytest.mark.slow
def test_a_list_of_large_runs_comes_in_pages_that_clients_take(
    service: RunningService, document: dict[str, Any]
) -> None:
    ids = [service.client.submit(document | {"workers": {"count": 1}}).id for _ in range(4)][::-1]
    for _ in ids:
        runner = service.next_runner()
        runner.take()
        for _ in range(80):
            runner.report(warning=run_pb2.Warning(message="." * 20_000))
        runner.report(finished=RESULT)
    runs = service.client.list()
    assert sum(run.ByteSize() for run in runs) > 4 * 2**20
    assert [run.id for run in runs] == ids


@pytest.mark.slow
def test_many_large_events_come_in_pages_that_clients_take(
    service: RunningService, document: dict[str, Any]
) -> None:
    run = service.client.submit(document)
    runner = service.next_runner()
    runner.take()
    warnings = [f"{number:04}".ljust(20_000, ".") for number in range(300)]
    for message in warnings:
        runner.report(warning=run_pb2.Warning(message=message))
    told = [event.warning.message for event in run.events() if event.HasField("warning")]
    assert told == warnings


def test_a_full_last_page_is_the_last(service: RunningService, document: dict[str, Any]) -> None:
    for _ in range(2):
        service.client.submit(document)
    page = stub(service).ListRuns(service_pb2.ListRunsRequest(page_size=2), timeout=30)
    assert (len(page.runs), page.next_page_token) == (2, "")


@pytest.mark.parametrize(
    "request_fields",
    [{"page_size": -1}, {"page_token": "x"}, {"page_token": "-1"}, {"page_token": "٣"}],
    ids=str,
)
def test_a_page_that_nobody_gave_is_refused(
    service: RunningService, request_fields: dict[str, Any]
) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        stub(service).ListRuns(service_pb2.ListRunsRequest(**request_fields), timeout=30)


def test_all_events_of_a_run_are_listed_in_pages(
    service: RunningService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs_module, "EVENTS_AT_ONCE", 2)
    run, runner = submit_and_take(service, document)
    for step in range(1, 5):
        runner.report(progress=progress(step))
    runner.report(finished=RESULT)
    events = list(service.client.events(run.id))
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [e.progress.step for e in events if e.HasField("progress")] == [1, 2, 3, 4]
    assert events[-1].state_change.state == SUCCEEDED


def test_events_after_the_last_are_none(service: RunningService, document: dict[str, Any]) -> None:
    run = service.client.submit(document)
    request = service_pb2.ListEventsRequest(id=run.id, after=2**64 - 1)
    assert not stub(service).ListEvents(request, timeout=30).events
    with pytest.raises(NotFoundError, match="there is no run 'r-9'"):
        list(service.client.events("r-9"))


def test_where_nobody_listens_the_client_says_what_to_do() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(UnreachableError, match="sumgrad serve"):
        client.get("r-1")


# --- watching -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_is_watched_from_launch_to_success_without_a_gap(
    service: RunningService, document: dict[str, Any]
) -> None:
    run = service.client.submit(document)
    runner = service.next_runner()
    watcher = Watcher(service.address, run.id)
    first = watcher.next()
    assert first.snapshot.run.state == LAUNCHING

    runner.take()
    for step in range(1, 31):
        assert not runner.report(progress=progress(step))
    runner.report(warning=run_pb2.Warning(message="careful"))
    runner.report(epoch=run_pb2.Epoch(epoch=1, step=23, e_out=0.4))
    runner.report(step_times=StepTimes().message())
    runner.report(finished=RESULT)

    events = watcher.rest()
    start = first.snapshot.sequence
    assert sequences(events) == list(range(start + 1, start + 1 + 34))
    assert all(response.event.HasField("time") for response in events)
    kinds = [response.event.WhichOneof("kind") for response in events]
    assert kinds == ["state_change", *["progress"] * 30, "warning", "epoch", "state_change"]
    assert events[-1].event.state_change.result == RESULT
    ended = service.client.get(run.id)
    assert (ended.state, ended.result, ended.progress.step) == (SUCCEEDED, RESULT, 30)
    assert list(ended.warnings) == ["careful"]
    assert ended.HasField("ended")


def test_whoever_watches_later_gets_a_snapshot_and_what_follows_it(
    service: RunningService, document: dict[str, Any]
) -> None:
    run, runner = submit_and_take(service, document)
    early = Watcher(service.address, run.id)
    early_start = early.next().snapshot.sequence
    runner.report(progress=progress(1))
    late = Watcher(service.address, run.id)
    snapshot = late.next().snapshot
    assert (snapshot.run.progress.step, snapshot.sequence) == (1, early_start + 1)
    runner.report(progress=progress(2))
    runner.report(finished=RESULT)
    late_events = late.rest()
    assert sequences(late_events) == [snapshot.sequence + 1, snapshot.sequence + 2]
    assert early.rest()[-2:] == late_events


def test_more_events_than_are_read_at_once_arrive_in_order(
    service: RunningService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "EVENTS_AT_ONCE", 3)
    run, runner = submit_and_take(service, document)
    watcher = Watcher(service.address, run.id)
    start = watcher.next().snapshot.sequence
    reports = [runner_pb2.RunReport(number=i, progress=progress(i)) for i in range(1, 21)]
    runner.send(*reports, runner_pb2.RunReport(number=21, finished=RESULT))
    assert sequences(watcher.rest()) == list(range(start + 1, start + 22))


def test_the_stream_of_a_run_that_has_ended_is_its_snapshot(
    service: RunningService, document: dict[str, Any]
) -> None:
    run, runner = submit_and_take(service, document)
    runner.report(finished=RESULT)
    [only] = list(service.client.watch(run.id))
    assert only.snapshot.run == service.client.wait(run.id)


# --- cancelling ---------------------------------------------------------------------------------


def test_a_queued_run_is_cancelled_at_once_and_never_launched(
    service: RunningService, document: dict[str, Any]
) -> None:
    _, runner = submit_and_take(service, document)
    waiting, last = service.client.submit(document), service.client.submit(document)
    assert service.client.cancel(waiting.id).state == CANCELLED
    runner.report(finished=RESULT)
    assert service.launcher.next_launch().run_id == last.id


def test_a_running_run_ends_when_its_runner_has_stopped_it(
    service: RunningService, document: dict[str, Any]
) -> None:
    run, runner = submit_and_take(service, document)
    assert not runner.report(progress=progress(1))
    assert service.client.cancel(run.id).state == RUNNING
    assert service.client.cancel(run.id).state == RUNNING
    assert runner.report(progress=progress(2))
    runner.report(cancelled=runner_pb2.Cancelled())
    assert service.client.wait(run.id).state == CANCELLED


def test_a_runner_that_does_not_stop_has_its_job_ended(
    service: RunningService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_policy, "CANCEL_SECONDS", 0)
    run, _ = submit_and_take(service, document)
    service.client.cancel(run.id)
    assert service.launcher.stopped.get(timeout=30) == f"sumgrad-{run.id}-1"
    assert service.client.wait(run.id).state == CANCELLED


def test_a_run_that_has_ended_cannot_be_cancelled(
    service: RunningService, document: dict[str, Any]
) -> None:
    run, runner = submit_and_take(service, document)
    runner.report(finished=RESULT)
    with pytest.raises(EndedError, match=f"run {run.id} has already ended"):
        service.client.cancel(run.id)
    with refused(grpc.StatusCode.FAILED_PRECONDITION):
        stub(service).CancelRun(service_pb2.CancelRunRequest(id=run.id), timeout=30)
    assert service.client.get(run.id).state == SUCCEEDED


# --- the queue ----------------------------------------------------------------------------------


def test_a_run_waits_for_free_cores_and_starts_when_the_one_before_it_ends(
    service: RunningService, document: dict[str, Any]
) -> None:
    first, runner = submit_and_take(service, document)
    second = service.client.submit(document, workers=1)
    third = service.client.submit(document, workers=1)
    assert service.client.get(second.id).state == QUEUED
    assert service.launcher.launched.empty()
    runner.report(finished=RESULT)
    assert {service.launcher.next_launch().run_id for _ in range(2)} == {second.id, third.id}
    assert service.client.get(first.id).state == SUCCEEDED


def test_a_run_that_cannot_be_launched_fails_and_says_why(
    service: RunningService, document: dict[str, Any]
) -> None:
    service.launcher.errors.append(RuntimeError("no room"))
    run = service.client.wait(service.client.submit(document).id)
    assert (run.state, run.message) == (FAILED, "it could not be launched: no room")
    following = service.client.submit(document)
    assert service.launcher.next_launch().run_id == following.id


@pytest.mark.parametrize("kind", [RuntimeError, KeyError])
def test_a_launch_that_fails_tells_nobody_the_runners_token(
    service: RunningService,
    document: dict[str, Any],
    kind: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[Launch] = []

    async def launch(asked: Launch) -> None:
        given.append(asked)
        raise kind(f"cannot start {asked} in {asked.environment()}")

    monkeypatch.setattr(service.launcher, "launch", launch)
    run = service.client.submit(document)
    ended = service.client.wait(run.id)
    assert "cannot start Launch(run_id=" in ended.message
    assert "'SUMGRAD_RUN_TOKEN': '[token]'" in ended.message
    told = [ended, *service.client.events(run.id), *service.client.logs(run.id)]
    assert not any(given[0].token in str(each) for each in told)


@on_both_databases
@pytest.mark.parametrize(
    "error", [RayError("Ray did not start"), ConnectionError("Connection refused")], ids=repr
)
def test_a_run_that_ray_does_not_take_is_launched_again(
    service: RunningService, document: dict[str, Any], error: Exception
) -> None:
    service.launcher.errors.append(error)
    run = service.client.submit(document)
    launch = service.launcher.next_launch()
    assert (launch.run_id, launch.attempt) == (run.id, 2)
    queued = [e.state_change for e in run.events() if e.state_change.state == QUEUED]
    assert queued[-1].message == f"it could not be launched: {error}; it is launched again"
    runner = PlayedRunner(launch, service.channel)
    runner.take()
    runner.report(finished=RESULT)
    assert run.wait().state == SUCCEEDED


def test_a_run_that_ray_never_takes_fails_and_says_why(
    service: RunningService, document: dict[str, Any]
) -> None:
    attempts = transitions.FRUITLESS_ATTEMPTS
    service.launcher.errors += [RayError("Ray did not start")] * attempts
    ended = service.client.submit(document).wait()
    assert (ended.state, ended.attempt) == (FAILED, attempts)
    assert ended.message == (
        "5 attempts in a row got no further; the last: it could not be launched: Ray did not start"
    )


def test_a_run_that_is_to_stop_is_not_launched_again(
    service: RunningService, document: dict[str, Any]
) -> None:
    launching, go_on = threading.Event(), threading.Event()

    async def launch(_launch: Launch) -> None:
        launching.set()
        assert await asyncio.to_thread(go_on.wait, 30)
        raise RayError("Ray died")

    service.launcher.launch = launch  # type: ignore[method-assign]
    run = service.client.submit(document)
    assert launching.wait(30)
    run.cancel()
    go_on.set()
    assert run.wait().state == CANCELLED


def test_an_error_that_nobody_foresaw_does_not_stop_the_queue(
    service: RunningService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("support.services.SECONDS", 3)
    service.launcher.errors.append(ValueError("unforeseen"))
    service.client.submit(document, workers=1)
    following = service.client.submit(document, workers=1)
    assert service.launcher.next_launch().run_id == following.id


def test_a_store_that_fails_for_a_while_does_not_stop_the_queue(
    service: RunningService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    working, failed = RunStore.open_runs, threading.Event()

    def open_runs(store: RunStore, *wanted: Any) -> list[StoredRun]:
        if failed.is_set():
            return working(store, *wanted)
        failed.set()
        raise StoreUnavailableError("database or disk is full")

    monkeypatch.setattr(RunStore, "open_runs", open_runs)
    assert failed.wait(30)
    submitted = service.client.submit(document)
    assert service.launcher.next_launch().run_id == submitted.id


def test_a_run_whose_runner_died_is_queued_again_and_goes_on(
    service: RunningService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, runner = submit_and_take(service, document)
    runner.report(progress=progress(9))
    monkeypatch.setattr(attempt_policy, "SILENCE_SECONDS", 0)
    service.launcher.last_line = "MemoryError"
    service.launcher.job_state = JobState.ENDED
    launch = service.launcher.next_launch()
    service.launcher.job_state = JobState.ALIVE
    assert (launch.run_id, launch.attempt) == (run.id, 2)
    with refused(grpc.StatusCode.PERMISSION_DENIED):
        runner.report(finished=RESULT)
    second = PlayedRunner(launch, service.channel)
    second.take()
    second.report(resumed=run_pb2.Resumed(step=8))
    second.report(finished=RESULT)
    ended = service.client.wait(run.id)
    assert (ended.state, ended.attempt, ended.furthest_step) == (SUCCEEDED, 2, 9)


def test_a_run_whose_ray_died_is_queued_again_whatever_its_runner_said_last(
    service: RunningService, document: dict[str, Any], tmp_path: Path
) -> None:
    run, runner = submit_and_take(service, document)
    runner.report(progress=progress(9))
    service.launcher.living = False
    launch = service.launcher.next_launch()
    service.launcher.living = True
    assert (launch.run_id, launch.attempt) == (run.id, 2)
    changes = [e.state_change.message for e in history_of(tmp_path / "state", run.id)]
    assert "the Ray cluster died; it goes on from its last snapshot" in changes


def test_the_reason_of_another_attempt_is_told(
    service: RunningService,
    document: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    run, _ = submit_and_take(service, document)
    monkeypatch.setattr(attempt_policy, "SILENCE_SECONDS", 0)
    service.launcher.last_line = "MemoryError"
    service.launcher.job_state = JobState.ENDED
    service.launcher.next_launch()
    queued = [e.state_change for e in history_of(tmp_path / "state", run.id)]
    assert "its runner died: MemoryError; it goes on from its last snapshot" in [
        change.message for change in queued if change.state == QUEUED
    ]


@pytest.mark.slow
def test_a_run_whose_attempts_get_no_further_fails_with_their_last_words(
    service: RunningService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_policy, "SILENCE_SECONDS", 0)
    run, _ = submit_and_take(service, document)
    service.launcher.last_line = "MemoryError"
    service.launcher.job_state = JobState.ENDED
    ended = service.client.wait(run.id)
    assert (ended.state, ended.attempt) == (FAILED, transitions.FRUITLESS_ATTEMPTS)
    assert ended.message == (
        "5 attempts in a row got no further; the last: its runner died: MemoryError"
    )


@pytest.mark.slow
def test_the_job_of_a_run_whose_runner_is_silent_for_too_long_is_stopped(
    service: RunningService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = submit_and_take(service, document)
    monkeypatch.setattr(attempt_policy, "LOST_SECONDS", 0)
    ended = service.client.wait(run.id)
    assert ended.state == FAILED
    assert "its runner was silent for 0 s" in ended.message
    assert service.launcher.stopped.get(timeout=30) == f"sumgrad-{run.id}-1"


# --- pausing, resuming, scaling -----------------------------------------------------------------


def test_a_running_run_is_paused_when_its_runner_says_so_and_goes_on_when_it_is_resumed(
    service: RunningService, document: dict[str, Any]
) -> None:
    run, runner = submit_and_take(service, document)
    assert not runner.response_to().pause
    assert service.client.pause(run.id).state == RUNNING
    assert runner.response_to().pause
    runner.report(paused=runner_pb2.Paused(step=9))
    paused = service.client.get(run.id)
    assert (paused.state, paused.message) == (PAUSED, "paused at step 9")
    assert service.client.resume(run.id).state in (QUEUED, LAUNCHING)
    second = service.next_runner()
    second.take()
    assert not second.response_to().pause
    second.report(finished=RESULT)
    assert service.client.wait(run.id).state == SUCCEEDED


def test_whoever_pauses_a_run_sees_why_it_goes_on(
    service: RunningService, document: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    run, runner = submit_and_take(service, document)
    pausing = threading.Thread(target=pause, args=(run.id, True, service.address))
    pausing.start()
    eventually(lambda: runner.response_to().pause)
    eventually(lambda: runner.report(warning=run_pb2.Warning(message="no room")) or said(capfd))
    runner.report(paused=runner_pb2.Paused(step=9))
    pausing.join(30)
    assert not pausing.is_alive()
    assert json.loads(capfd.readouterr().out)["message"] == "paused at step 9"


def said(capfd: pytest.CaptureFixture[str]) -> bool:
    return "warning: no room\n" in capfd.readouterr().err


def test_a_run_that_nobody_asked_to_pause_is_paused_and_says_why(
    service: RunningService, document: dict[str, Any]
) -> None:
    run, runner = submit_and_take(service, document)
    runner.report(paused=runner_pb2.Paused(reason="paused, because there is no disk"))
    paused = service.client.get(run.id)
    assert (paused.state, paused.message) == (PAUSED, "paused, because there is no disk")
    assert service.client.resume(run.id).state in (QUEUED, LAUNCHING)


def test_a_queued_run_is_paused_at_once_and_gives_way(
    service: RunningService, document: dict[str, Any]
) -> None:
    _, runner = submit_and_take(service, document)
    waiting = service.client.submit(document)
    assert service.client.pause(waiting.id).state == PAUSED
    following = service.client.submit(document)
    runner.report(finished=RESULT)
    assert service.launcher.next_launch().run_id == following.id


def test_a_paused_run_can_be_cancelled(service: RunningService, document: dict[str, Any]) -> None:
    run, runner = submit_and_take(service, document)
    service.client.pause(run.id)
    runner.report(paused=runner_pb2.Paused(step=9))
    assert service.client.cancel(run.id).state == CANCELLED


def test_only_a_paused_run_is_resumed(service: RunningService, document: dict[str, Any]) -> None:
    run, runner = submit_and_take(service, document)
    request = service_pb2.ResumeRunRequest(id=run.id)
    with refused(grpc.StatusCode.FAILED_PRECONDITION) as caught:
        stub(service).ResumeRun(request)
    assert "is not paused" in caught.value.details()
    runner.report(finished=RESULT)
    with refused(grpc.StatusCode.FAILED_PRECONDITION):
        stub(service).ResumeRun(request)


def test_a_run_that_is_to_pause_is_paused_where_its_runner_died(
    service: RunningService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = submit_and_take(service, document)
    service.client.pause(run.id)
    monkeypatch.setattr(attempt_policy, "SILENCE_SECONDS", 0)
    service.launcher.job_state = JobState.ENDED
    eventually(lambda: service.client.get(run.id).state == PAUSED)


def test_a_running_run_is_scaled_through_its_runner(
    service: RunningService, document: dict[str, Any]
) -> None:
    run, runner = submit_and_take(service, document)
    assert runner.response_to().workers == 2
    assert service.client.scale(run.id, 1).workers == 1
    assert runner.response_to().workers == 1


def test_a_queued_run_is_launched_with_the_workers_that_it_was_scaled_to(
    service: RunningService, document: dict[str, Any]
) -> None:
    _, runner = submit_and_take(service, document)
    waiting = service.client.submit(document)
    service.client.scale(waiting.id, 1)
    runner.report(finished=RESULT)
    second = service.next_runner()
    assert second.take().workers == 1
    assert service.client.get(waiting.id).spec.workers.count == 2


@pytest.mark.parametrize("workers", [-1, 0, 5])
def test_a_run_is_not_scaled_beyond_its_shards(
    service: RunningService, document: dict[str, Any], workers: int
) -> None:
    run, _ = submit_and_take(service, document)
    with refused(grpc.StatusCode.INVALID_ARGUMENT) as caught:
        stub(service).ScaleRun(service_pb2.ScaleRunRequest(id=run.id, workers=workers))
    assert "1 to 4 workers" in caught.value.details()


@pytest.mark.parametrize("method", ["PauseRun", "ResumeRun", "ScaleRun"])
def test_a_run_that_is_not_there_is_not_found(service: RunningService, method: str) -> None:
    request = getattr(service_pb2, f"{method}Request")(id="r-9")
    with refused(grpc.StatusCode.NOT_FOUND):
        getattr(stub(service), method)(request)


# --- runners ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [{"token": "guess"}, {"token": ""}, {"attempt": 2}, {"attempt": 0}, {"run_id": "r-9"}],
    ids=str,
)
def test_nobody_but_the_runner_of_the_attempt_is_let_in(
    service: RunningService, document: dict[str, Any], wrong: dict[str, Any]
) -> None:
    run = service.client.submit(document)
    launch = service.launcher.next_launch()
    stranger = PlayedRunner(Launch(**{**launch.__dict__, **wrong}), service.channel)
    with refused(grpc.StatusCode.PERMISSION_DENIED):
        stranger.take()
    with refused(grpc.StatusCode.PERMISSION_DENIED):
        stranger.report(finished=RESULT)
    assert service.client.get(run.id).state == LAUNCHING


def test_a_queued_run_has_no_runner(service: RunningService, document: dict[str, Any]) -> None:
    submit_and_take(service, document)
    waiting = service.client.submit(document)
    stranger = PlayedRunner(Launch(waiting.id, 0, "", ""), service.channel)
    with refused(grpc.StatusCode.PERMISSION_DENIED):
        stranger.take()


def test_reports_that_are_sent_again_are_stored_once(
    service: RunningService, document: dict[str, Any], tmp_path: Path
) -> None:
    run, runner = submit_and_take(service, document)
    reports = [runner_pb2.RunReport(number=i, progress=progress(i)) for i in (1, 2, 3)]
    runner.send(*reports[:2])
    runner.send(*reports)
    runner.send(*reports)
    events = history_of(tmp_path / "state", run.id)
    assert [e.progress.step for e in events if e.HasField("progress")] == [1, 2, 3]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))


def test_reports_that_are_sent_again_while_they_are_stored_are_stored_once(
    service: RunningService, document: dict[str, Any], tmp_path: Path
) -> None:
    run = service.client.submit(document)
    launch = service.launcher.next_launch()

    async def report_twice() -> None:
        reports = [runner_pb2.RunReport(number=1, warning=run_pb2.Warning(message="once"))]
        who = (launch.run_id, launch.attempt, launch.token)
        await asyncio.gather(*(service.parts.runner_calls.report(*who, reports) for _ in range(2)))

    service.loop.run(report_twice())
    assert list(service.client.get(run.id).warnings) == ["once"]


def test_what_a_runner_says_after_the_end_is_dropped(
    service: RunningService, document: dict[str, Any]
) -> None:
    run, runner = submit_and_take(service, document)
    runner.report(finished=RESULT)
    runner.report(failed=runner_pb2.Failed(message="late"))
    assert service.client.get(run.id).state == SUCCEEDED


def test_a_runner_of_a_run_that_was_ended_is_told_to_stop(
    service: RunningService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_policy, "CANCEL_SECONDS", 0)
    run, runner = submit_and_take(service, document)
    service.client.cancel(run.id)
    service.client.wait(run.id)
    assert runner.report(progress=progress(1))


def test_a_failure_is_told_in_the_runners_words(
    service: RunningService, document: dict[str, Any]
) -> None:
    run, runner = submit_and_take(service, document)
    runner.report(failed=runner_pb2.Failed(message="step 3: NaN"))
    ended = service.client.wait(run.id)
    assert (ended.state, ended.message) == (FAILED, "step 3: NaN")


# --- standard services --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "sumgrad.trainer.v1.TrainerService"])
def test_the_health_check_says_serving(service: RunningService, name: str) -> None:
    health = health_pb2_grpc.HealthStub(service.channel)
    answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=30)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert service.client.reachable()


def test_the_health_of_an_unknown_service_is_not_found(service: RunningService) -> None:
    health = health_pb2_grpc.HealthStub(service.channel)
    with refused(grpc.StatusCode.NOT_FOUND):
        health.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=30)


def test_a_client_with_only_reflection_finds_the_services_and_submits_a_run(
    service: RunningService,
) -> None:
    reflection = ProtoReflectionDescriptorDatabase(service.channel)
    assert set(reflection.get_services()) == {
        "sumgrad.trainer.v1.TrainerService",
        "sumgrad.trainer.v1.RunnerService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    pool = DescriptorPool(reflection)
    method = pool.FindServiceByName("sumgrad.trainer.v1.TrainerService").FindMethodByName(
        "SubmitRun"
    )
    request = GetMessageClass(method.input_type)()
    spec = request.spec
    spec.name = "by reflection"
    spec.data.digits.SetInParent()
    spec.model.layers.add().affine.units = 10
    spec.model.loss = (
        pool.FindEnumTypeByName("sumgrad.trainer.v1.Loss")
        .values_by_name["LOSS_CROSS_ENTROPY"]
        .number
    )
    spec.train.steps = 3
    spec.train.full_batch = True
    spec.train.update.sgd.learning_rate = 0.1
    call = service.channel.unary_unary(
        "/sumgrad.trainer.v1.TrainerService/SubmitRun",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    submitted = call(request, timeout=30).run
    assert service.launcher.next_launch().run_id == submitted.id
    assert service.client.get(submitted.id).spec.name == "by reflection"


# --- metrics ------------------------------------------------------------------------------------


def scrape(service: RunningService) -> str:
    with urllib.request.urlopen(service.metrics_url, timeout=30) as response:
        content: bytes = response.read()
        return content.decode()


def test_a_scrape_shows_runs_requests_and_step_times(
    start_service: StartService, document: dict[str, Any], promtool: Callable[[str], None]
) -> None:
    service = start_service(metrics_address="127.0.0.1:0")
    run, runner = submit_and_take(service, document)
    runner.report(progress=progress(5))
    times = StepTimes()
    times.observe(compute=0.01, reduce=0.01, update=0.01, channel=0.01)
    runner.report(step_times=times.message())
    with pytest.raises(NotFoundError):
        service.client.get("r-9")
    with refused(grpc.StatusCode.UNIMPLEMENTED):
        service.channel.unary_unary("/sumgrad.trainer.v1.TrainerService/Nothing")(b"", timeout=30)
    lines = scrape(service).splitlines()
    api = "/sumgrad.trainer.v1.TrainerService"
    assert f'sumgrad_steps_total{{run="{run.id}"}} 5.0' in lines
    assert 'sumgrad_runs{state="running"} 1.0' in lines
    assert f'sumgrad_grpc_requests_total{{code="OK",method="{api}/SubmitRun"}} 1.0' in lines
    assert f'sumgrad_grpc_requests_total{{code="NOT_FOUND",method="{api}/GetRun"}} 1.0' in lines
    assert 'sumgrad_grpc_requests_total{code="UNIMPLEMENTED",method="unknown"} 1.0' in lines
    promtool(scrape(service))
    assert run.id in scrape(service)
    runner.report(finished=RESULT)
    assert run.id not in scrape(service)
    promtool(scrape(service))


@pytest.mark.slow
def test_a_request_that_breaks_is_not_counted_as_answered_well(
    start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start_service(metrics_address="127.0.0.1:0")
    monkeypatch.setattr(service.parts.runs, "view", None)
    with refused(grpc.StatusCode.UNKNOWN):
        stub(service).GetRun(service_pb2.GetRunRequest(id="r-1"), timeout=30)
    assert 'code="OK",method="/sumgrad.trainer.v1.TrainerService/GetRun"' not in scrape(service)


# --- starting and stopping ----------------------------------------------------------------------


@pytest.mark.parametrize("address", ["0.0.0.0:0", "192.0.2.1:0", "example.org:0", "[::]:0"])
def test_an_address_that_others_reach_is_refused(tmp_path: Path, address: str) -> None:
    for name in ("address", "metrics_address"):
        with pytest.raises(UsageError, match="can be reached from other machines"):
            Service(Settings(state=tmp_path, **{name: address}))


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1:", ":7433", "127.0.0.1:70000", "a:b"])
def test_an_address_of_another_form_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(UsageError, match="is not host:port"):
        Service(Settings(state=tmp_path, address=address))


@pytest.mark.parametrize("taken", ["gRPC", "metrics"])
def test_an_address_in_use_is_refused_with_what_to_do(
    start_service: StartService, loop: Loop, tmp_path: Path, taken: str
) -> None:
    address = start_service().address
    addresses = (address, None) if taken == "gRPC" else ("127.0.0.1:0", address)
    settings = Settings(
        state=tmp_path / "other", address=addresses[0], metrics_address=addresses[1]
    )
    with pytest.raises(UsageError, match="choose another with --"):
        loop.run(Service(settings).__aenter__())


@on_both_databases
def test_runs_and_events_are_there_after_a_restart(
    start_service: StartService, document: dict[str, Any], tmp_path: Path, store_url: str | None
) -> None:
    before = start_service()
    run, runner = submit_and_take(before, document)
    runner.report(progress=progress(5))
    runner.report(finished=RESULT)
    shown = before.client.get(run.id)
    events = history_of(tmp_path / "state", run.id, store_url)
    before.stop()
    after = start_service()
    assert after.client.get(run.id) == shown
    assert after.client.list() == [shown]
    assert history_of(tmp_path / "state", run.id, store_url) == events
    assert after.launcher.launched.empty()


@pytest.mark.slow
@on_both_databases
def test_a_queued_run_is_launched_after_a_restart(
    start_service: StartService, document: dict[str, Any]
) -> None:
    before = start_service()
    submit_and_take(before, document)
    waiting = before.client.submit(document)
    before.stop()
    after = start_service()
    first = after.next_runner()
    first.take()
    first.report(finished=RESULT)
    launch = after.launcher.next_launch()
    assert (launch.run_id, launch.attempt) == (waiting.id, 1)


@on_both_databases
def test_a_running_run_starts_again_after_a_restart_and_its_old_runner_is_refused(
    start_service: StartService, document: dict[str, Any], tmp_path: Path, store_url: str | None
) -> None:
    before = start_service()
    run = before.client.submit(document)
    old = before.launcher.next_launch()
    old_runner = PlayedRunner(old, before.channel)
    old_runner.take()
    old_runner.report(progress=progress(20))
    before.stop()

    after = start_service()
    new = after.launcher.next_launch()
    assert (new.run_id, new.attempt) == (run.id, 2)
    assert new.token != old.token
    with refused(grpc.StatusCode.PERMISSION_DENIED):
        PlayedRunner(old, after.channel).report(finished=RESULT)
    runner = PlayedRunner(new, after.channel)
    runner.take()
    runner.report(progress=progress(1))
    assert after.client.get(run.id).progress.step == 1
    runner.report(finished=RESULT)
    assert after.client.get(run.id).state == SUCCEEDED
    events = history_of(tmp_path / "state", run.id, store_url)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    changes = [event.state_change for event in events if event.HasField("state_change")]
    assert [change.state for change in changes] == [
        QUEUED, LAUNCHING, RUNNING, QUEUED, LAUNCHING, RUNNING, SUCCEEDED,
    ]  # fmt: skip
    assert changes[3].message.startswith("its service ended")


@pytest.mark.slow
@on_both_databases
def test_a_run_whose_job_is_still_alive_is_adopted_and_its_runner_goes_on(
    start_service: StartService, document: dict[str, Any]
) -> None:
    before = start_service()
    run = before.client.submit(document)
    launch = before.launcher.next_launch()
    PlayedRunner(launch, before.channel).take()
    waiting = before.client.submit(document)
    before.stop()

    after = start_service(jobs={launch.job})
    runner = PlayedRunner(launch, after.channel)
    runner.report(progress=progress(7))
    found = after.client.get(run.id)
    assert (found.state, found.attempt, found.progress.step) == (RUNNING, 1, 7)
    assert after.client.get(waiting.id).state == QUEUED
    assert after.client.cancel(run.id).state == RUNNING
    assert runner.report(progress=progress(8))
    runner.report(cancelled=runner_pb2.Cancelled())
    assert after.launcher.next_launch().run_id == waiting.id


@pytest.mark.slow
@on_both_databases
def test_services_that_start_at_once_take_over_each_run_once(
    start_service: StartService,
    document: dict[str, Any],
    loop: Loop,
    tmp_path: Path,
    store_url: str | None,
) -> None:
    before = start_service()
    runs = [before.client.submit(document, workers=1) for _ in range(6)]
    before.stop()
    before.launcher.jobs.clear()
    settings = Settings(
        state=tmp_path / "state", address="127.0.0.1:0", metrics_address=None, store=store_url
    )
    services = [Service(settings) for _ in range(3)]

    async def start_and_stop() -> None:
        await asyncio.gather(*(service.__aenter__() for service in services))
        await asyncio.gather(*(service.__aexit__(None, None, None) for service in services))

    loop.run(start_and_stop())
    for i, run in enumerate(runs):
        events = history_of(tmp_path / "state", run.id, store_url)
        again = [e for e in events if e.state_change.message.startswith("its service ended")]
        assert len(again) == (1 if i < CORES else 0)  # the others had not been launched


@pytest.mark.slow
@on_both_databases
def test_the_runs_of_a_service_that_ends_later_are_taken_over_by_one_that_lives(
    start_service: StartService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "RECONCILE_SECONDS", 0)
    one = start_service()
    run, runner = submit_and_take(one, document)
    waiting = one.client.submit(document)
    other = start_service(jobs=[runner.launch.job])
    assert other.launcher.launched.empty()
    one.stop()

    def looked_after_there() -> bool:
        try:
            return other.client.cancel(run.id).stop_requested == run_pb2.STOP_CANCEL
        except ElsewhereError:
            return False

    eventually(looked_after_there)
    adopted = PlayedRunner(runner.launch, other.channel)
    adopted.report(cancelled=runner_pb2.Cancelled())
    assert other.launcher.next_launch().run_id == waiting.id


@pytest.mark.slow
def test_a_service_that_is_away_for_a_moment_keeps_its_runs(
    start_service: StartService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gone the first time that it is asked after, and back the second time, for ever."""
    one = start_service()
    run, _ = submit_and_take(one, document)
    asked = count(1)
    enough = threading.Event()

    def is_gone(_instance: Instance, _name: str) -> bool:
        number = next(asked)
        if number > 6:
            enough.set()
        return number % 2 == 0

    monkeypatch.setattr(Instance, "is_gone", is_gone)
    monkeypatch.setattr(takeover, "RECONCILE_SECONDS", 0)
    other = start_service()
    assert enough.wait(30)
    with pytest.raises(ElsewhereError):
        other.client.cancel(run.id)


@pytest.mark.slow
def test_a_queued_run_is_counted_after_a_restart(
    start_service: StartService, document: dict[str, Any]
) -> None:
    before = start_service()
    submit_and_take(before, document)
    before.client.submit(document)
    before.stop()
    after = start_service(metrics_address="127.0.0.1:0")
    after.launcher.next_launch()
    assert 'sumgrad_runs{state="queued"} 1.0' in scrape(after).splitlines()


@on_both_databases
def test_the_runs_of_a_temporary_service_end_with_it(
    start_service: StartService, document: dict[str, Any]
) -> None:
    command = start_service(temporary=True)
    running, _ = submit_and_take(command, document)
    waiting = command.client.submit(document)
    command.stop()
    after = start_service()
    for run in (running, waiting):
        ended = after.client.get(run.id)
        assert (ended.state, ended.message) == (CANCELLED, "its command ended")
    assert after.launcher.launched.empty()


@on_both_databases
def test_services_that_share_a_state_folder_leave_each_others_runs_alone(
    start_service: StartService, document: dict[str, Any]
) -> None:
    one = start_service()
    run, runner = submit_and_take(one, document)
    waiting = one.client.submit(document)
    other = start_service(temporary=True)
    assert [found.id for found in other.client.list()] == [waiting.id, run.id]
    assert other.client.get(waiting.id).state == QUEUED
    other.stop()
    runner.report(finished=RESULT)
    assert one.launcher.next_launch().run_id == waiting.id
    assert other.launcher.launched.empty()


@pytest.mark.slow
@on_both_databases
def test_a_run_of_another_service_can_be_watched(
    start_service: StartService, document: dict[str, Any]
) -> None:
    one, other = start_service(), start_service(temporary=True)
    run, runner = submit_and_take(one, document)
    stream = stub(other).WatchRun(service_pb2.WatchRunRequest(id=run.id), timeout=3)
    assert next(stream).snapshot.run.state == RUNNING
    runner.report(finished=RESULT)
    try:
        assert [response.event.state_change.state for response in stream] == [SUCCEEDED]
    except grpc.RpcError as error:
        pytest.fail(str(error.code()))


@pytest.mark.slow
def test_a_run_of_another_service_is_cancelled_or_the_client_is_told_that_it_cannot_be(
    start_service: StartService, document: dict[str, Any]
) -> None:
    one, other = start_service(), start_service(temporary=True)
    run, runner = submit_and_take(one, document)
    try:
        other.client.cancel(run.id)
    except ClientError:
        return
    assert runner.report(progress=progress(1))


@on_both_databases
def test_a_service_that_was_killed_between_storing_and_queueing_a_run_loses_nothing(
    start_service: StartService, document: dict[str, Any], tmp_path: Path, store_url: str | None
) -> None:
    """What was not acknowledged may be gone or be launched, but not stay as it is for ever."""
    store = RunStore(store_url or tmp_path / "state" / "runs.db")
    store.create(run_pb2.Run(id="r-1", spec=to_message(parse(document))), "service-gone")
    store.close()
    service = start_service()
    eventually(lambda: service.client.get("r-1").state in (LAUNCHING, FAILED), 5)


# --- killed services ----------------------------------------------------------------------------


def serve_until_killed(state: str, url: str | None, temporary: bool) -> None:
    """A service with a fake launcher, in a process of its own; it says where it is."""
    import sumgrad.trainer.service.service as module

    launcher = FakeLauncher()
    module.Launcher = lambda *_: launcher  # type: ignore[assignment,misc]

    async def serve() -> None:
        settings = Settings(
            state=Path(state),
            address="127.0.0.1:0",
            metrics_address=None,
            temporary=temporary,
            store=url,
        )
        async with Service(settings) as service:
            await service.ready()
            print(json.dumps({"address": service.address}), flush=True)
            while True:
                launch = await asyncio.to_thread(launcher.launched.get)
                print(json.dumps(launch.__dict__), flush=True)

    asyncio.run(serve())


@contextmanager
def service_to_kill(
    state: Path, url: str | None, temporary: bool
) -> Iterator[subprocess.Popen[str]]:
    code = "import sys, json, test_service as t; t.serve_until_killed(*json.loads(sys.argv[1]))"
    with subprocess.Popen(
        [sys.executable, "-c", code, json.dumps([str(state), url, temporary])],
        cwd=Path(__file__).parent,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def killed_with_a_running_run(
    state: Path, url: str | None, document: dict[str, Any], temporary: bool
) -> RunHandle:
    with service_to_kill(state, url, temporary) as process:
        assert process.stdout is not None
        with Client(json.loads(process.stdout.readline())["address"]) as client:
            run = client.submit(document, workers=1)
            launch = Launch(**json.loads(process.stdout.readline()))
            with grpc.insecure_channel(launch.service) as channel:
                runner = PlayedRunner(launch, channel)
                runner.take()
                runner.report(progress=progress(9))
            process.kill()
            return run


@pytest.mark.slow
@on_both_databases
def test_the_run_of_a_lasting_service_that_was_killed_starts_again(
    start_service: StartService, document: dict[str, Any], tmp_path: Path, store_url: str | None
) -> None:
    run = killed_with_a_running_run(tmp_path / "state", store_url, document, temporary=False)
    service = start_service()
    launch = service.launcher.next_launch()
    assert (launch.run_id, launch.attempt) == (run.id, 2)
    runner = PlayedRunner(launch, service.channel)
    runner.take()
    runner.report(finished=RESULT)
    assert service.client.wait(run.id).state == SUCCEEDED


@pytest.mark.slow
@on_both_databases
def test_the_run_of_a_temporary_service_that_was_killed_has_failed(
    start_service: StartService, document: dict[str, Any], tmp_path: Path, store_url: str | None
) -> None:
    run = killed_with_a_running_run(tmp_path / "state", store_url, document, temporary=True)
    service = start_service()
    ended = service.client.get(run.id)
    assert (ended.state, ended.message) == (FAILED, "its command was killed")
    assert ended.progress.step == 9
    assert service.launcher.launched.empty()


@pytest.mark.slow
@on_both_databases
def test_a_temporary_service_leaves_the_runs_of_a_killed_lasting_one_waiting(
    start_service: StartService, document: dict[str, Any], tmp_path: Path, store_url: str | None
) -> None:
    run = killed_with_a_running_run(tmp_path / "state", store_url, document, temporary=False)
    command = start_service(temporary=True)
    assert command.client.get(run.id).state == RUNNING
    command.stop()
    assert start_service().launcher.next_launch().run_id == run.id
