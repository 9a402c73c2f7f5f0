"""The Python client: handles, errors with their reasons, bounds, and its twin for asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from sumgrad.trainer.client import (
    AsyncClient,
    BusyError,
    Client,
    CursorExpiredError,
    EndedError,
    InvalidRequestError,
    NotFoundError,
    NotPausedError,
    Point,
    UnreachableError,
    WaitTimeoutError,
    WorkersError,
    connection,
)
from sumgrad.trainer.client.errors import REASONS
from sumgrad.trainer.client.streams import log_reading, retry
from sumgrad.trainer.client.streams.log_reading import LogReading
from sumgrad.trainer.client.streams.retry import Retry
from sumgrad.trainer.client.streams.watch_cursor import WatchCursor
from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.service.api.refusals import CODES, RUNNER_CODES, reason
from sumgrad.trainer.service.runs.stored_run import StoredRun
from sumgrad.trainer.service.settings import ConnectionLimits
from sumgrad.trainer.service.store.run_store import RunStore
from sumgrad.trainer.spec.violations import InvalidSpecError
from sumgrad.trainer.v1 import run_pb2, service_pb2, service_pb2_grpc

from support.services import RunningService, StartService
from support.waiting import SECONDS, eventually

CANCELLED = run_pb2.RUN_STATE_CANCELLED
PAUSED = run_pb2.RUN_STATE_PAUSED
SUCCEEDED = run_pb2.RUN_STATE_SUCCEEDED


# --- handles ------------------------------------------------------------------------------------


def test_a_handle_does_what_the_client_does_and_keeps_what_it_saw(
    service: RunningService, document: dict[str, Any]
) -> None:
    run = service.client.submit(document)
    assert run.info.spec.name == "small"
    runner = service.next_runner()
    runner.take()
    with pytest.raises(NotPausedError, match="is not paused"):
        run.resume()
    with pytest.raises(WorkersError, match="1 to 4 workers"):
        run.scale(5)
    assert run.scale(1).workers == run.info.workers == 1
    runner.report(finished=run_pb2.Result(accuracy=0.5))
    assert run.wait().result.accuracy == run.info.result.accuracy == 0.5
    with pytest.raises(EndedError) as caught:
        run.cancel()
    assert (caught.value.reason, caught.value.metadata) == ("RUN_ENDED", {"run": run.id})
    assert service.client.run(run.id).info == run.refresh()
    run.delete()
    with pytest.raises(NotFoundError):
        run.refresh()


def test_a_wait_that_takes_too_long_ends(service: RunningService, document: dict[str, Any]) -> None:
    run = service.client.submit(document)
    with pytest.raises(WaitTimeoutError, match=r"within 0\.1 s"):
        run.wait(timeout=0.1)
    with pytest.raises(TimeoutError):
        next(run.watch(timeout=0))


def test_a_wait_may_be_for_a_state_on_the_way(
    service: RunningService, document: dict[str, Any]
) -> None:
    run = service.client.submit(document)
    launched = service.launcher.next_launch()
    found = service.client.wait(launched.run_id, states={run_pb2.RUN_STATE_LAUNCHING})
    assert found.id == run.id


@pytest.mark.slow
def test_the_asyncio_twin_gives_the_same_answers(
    service: RunningService, document: dict[str, Any]
) -> None:
    async def use() -> None:
        async with AsyncClient(service.address) as client:
            assert await client.reachable()
            run = await client.submit(document, labels={"a": "b"})
            runner = await asyncio.to_thread(service.next_runner)
            await asyncio.to_thread(runner.take)
            progress = run_pb2.Progress(step=1, e_in=0.5)
            await asyncio.to_thread(lambda: runner.report(progress=progress))
            assert await run.points("e_in") == {"e_in": [Point(1, 0.5)]}
            with pytest.raises(WaitTimeoutError):
                await run.wait(timeout=0.1)
            await asyncio.to_thread(lambda: runner.report(finished=run_pb2.Result()))
            assert (await run.wait(timeout=30)).state == SUCCEEDED
            assert [found.id for found in await client.list(labels={"a": "b"})] == [run.id]
            events = [event async for event in run.events()]
            assert events == list(service.client.events(run.id))
            with pytest.raises(EndedError):
                await run.cancel()
            with pytest.raises(InvalidSpecError):
                await client.submit(document, set=("seed=-1",))
            await run.delete()
            with pytest.raises(NotFoundError):
                await client.run(run.id)

    asyncio.run(use())


# --- errors, retries ----------------------------------------------------------------------------


def test_every_reason_that_the_service_gives_a_client_is_an_exception_of_its_own_kind() -> None:
    told_to_clients = {reason(kind) for kind in CODES.keys() - RUNNER_CODES.keys()}
    assert told_to_clients == REASONS.keys() | {reason(InvalidSpecError)}


def test_a_call_is_made_again_so_often_and_no_more() -> None:
    again = Retry((1, 2), (UnreachableError,), spread=lambda: 0.5)
    assert [again.seconds(UnreachableError("x")) for _ in range(2)] == [0.5, 1]
    with pytest.raises(UnreachableError):
        again.seconds(UnreachableError("x"))
    again.reset()
    assert again.seconds(UnreachableError("x")) == 0.5
    with pytest.raises(NotFoundError):
        again.seconds(NotFoundError("x"))


def event(sequence: int, **kind: Any) -> service_pb2.WatchRunResponse:
    return service_pb2.WatchRunResponse(event=run_pb2.Event(sequence=sequence, **kind))


def snapshot(sequence: int) -> service_pb2.WatchRunResponse:
    run = run_pb2.Run(state=run_pb2.RUN_STATE_RUNNING)
    return service_pb2.WatchRunResponse(snapshot=service_pb2.Snapshot(run=run, sequence=sequence))


def test_a_cursor_hides_heartbeats_and_what_came_before() -> None:
    cursor = WatchCursor("r-1", None)
    assert not cursor.request().HasField("after_sequence")
    heartbeat = service_pb2.WatchRunResponse(heartbeat=service_pb2.Heartbeat(sequence=7))
    shown = [snapshot(7), heartbeat, event(8), event(8), event(7), event(9)]
    assert [cursor.takes(response) for response in shown] == [True, False, True, False, False, True]
    assert cursor.request().after_sequence == 9


class FallsSilent(service_pb2_grpc.TrainerServiceServicer):
    """A service that is cut off in the middle of each stream from the beginning.

    Attributes:
        asked: the cursor of each stream.
    """

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.over = threading.Event()

    def WatchRun(self, request: Any, _context: Any) -> Iterator[Any]:  # noqa: N802
        self.asked.append(request.after_sequence)
        if request.after_sequence == 0:
            yield service_pb2.WatchRunResponse(snapshot=service_pb2.Snapshot(sequence=1))
            yield service_pb2.WatchRunResponse(heartbeat=service_pb2.Heartbeat(sequence=1))
            self.over.wait(SECONDS)
        else:
            end = run_pb2.StateChange(state=SUCCEEDED)
            yield service_pb2.WatchRunResponse(event=run_pb2.Event(sequence=2, state_change=end))

    def StreamLogs(self, request: Any, _context: Any) -> Iterator[Any]:  # noqa: N802
        self.asked.append(request.after)
        if request.after == 0:
            line = run_pb2.LogLine(sequence=1)
            yield service_pb2.StreamLogsResponse(lines=[line], sequence=1)
            yield service_pb2.StreamLogsResponse(sequence=1)
            self.over.wait(SECONDS)
        else:
            line = run_pb2.LogLine(sequence=2)
            yield service_pb2.StreamLogsResponse(lines=[line], sequence=2)

    def DownloadWeights(self, _request: Any, _context: Any) -> Iterator[Any]:  # noqa: N802
        yield service_pb2.DownloadWeightsResponse(file=service_pb2.WeightsFile(size=1))
        self.over.wait(SECONDS)


@pytest.fixture
def falls_silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FallsSilent, str]]:
    """And its address."""
    monkeypatch.setattr(connection, "SILENCE_SECONDS", 1.0)
    monkeypatch.setattr(retry, "STREAM_WAITS", (0.0,) * 9)
    monkeypatch.setattr(log_reading, "RECONNECT_SECONDS", 0.0)
    played, server = FallsSilent(), grpc.server(ThreadPoolExecutor(8))
    service_pb2_grpc.add_TrainerServiceServicer_to_server(played, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield played, f"127.0.0.1:{port}"
    played.over.set()
    server.stop(0).wait(SECONDS)


STREAMS: dict[str, Callable[[Any], Any]] = {
    "watch": lambda client: client.watch("r-1"),
    "logs": lambda client: client.logs("r-1", follow=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_on_which_nothing_comes_is_begun_again_where_it_was(
    falls_silent: tuple[FallsSilent, str], kind: str
) -> None:
    played, address = falls_silent

    async def read() -> list[Any]:
        async with AsyncClient(address) as client:
            return [response async for response in STREAMS[kind](client)]

    with Client(address) as client:
        found = list(STREAMS[kind](client))
    assert len(found) == 2  # and no heartbeat
    assert played.asked == [0, 1]
    assert asyncio.run(read()) == found
    assert played.asked == [0, 1, 0, 1]


def test_a_log_that_cannot_be_read_at_all_is_not_tried_again() -> None:
    with pytest.raises(UnreachableError):
        LogReading("r-1", True, 0, ()).seconds(UnreachableError("gone"))


def test_a_log_that_broke_off_is_read_on_so_often_as_the_reader_follows_it() -> None:
    reading = LogReading("r-1", True, 0, ())
    line = service_pb2.StreamLogsResponse(lines=[run_pb2.LogLine(sequence=7)], sequence=7)
    for _ in range(2):
        assert reading.takes(line)
        waits = [
            reading.seconds(UnreachableError("gone")) for _ in range(log_reading.MAX_FAILURES - 1)
        ]
        assert set(waits) == {log_reading.RECONNECT_SECONDS}
    with pytest.raises(UnreachableError):
        reading.seconds(UnreachableError("gone"))
    assert reading.request.after == 7


def test_a_log_that_is_not_followed_is_not_read_on() -> None:
    reading = LogReading("r-1", False, 0, ())
    assert not reading.takes(service_pb2.StreamLogsResponse(sequence=7))
    with pytest.raises(UnreachableError):
        reading.seconds(UnreachableError("gone"))


@pytest.mark.slow
def test_a_download_of_which_nothing_comes_is_broken_off(
    falls_silent: tuple[FallsSilent, str],
) -> None:
    _, address = falls_silent

    async def download() -> None:
        async with AsyncClient(address) as client:
            await client.download("r-1")

    with Client(address) as client, pytest.raises(UnreachableError, match="said nothing for 1 s"):
        client.download("r-1")
    with pytest.raises(UnreachableError, match="said nothing for 1 s"):
        asyncio.run(download())


def test_a_stream_that_never_began_is_not_begun_again() -> None:
    with pytest.raises(UnreachableError):
        WatchCursor("r-1", None).seconds(UnreachableError("x"))
    with pytest.raises(CursorExpiredError):
        WatchCursor("r-1", 9).seconds(CursorExpiredError("x"))


def test_a_stream_whose_cursor_expired_on_the_way_goes_on_with_a_snapshot() -> None:
    cursor = WatchCursor("r-1", 9)
    assert cursor.takes(event(10))
    assert cursor.seconds(CursorExpiredError("x")) == 0
    assert not cursor.request().HasField("after_sequence")
    assert cursor.takes(snapshot(3))
    assert cursor.request().after_sequence == 3


# --- validation, points -------------------------------------------------------------------------


def test_a_specification_is_validated_without_being_stored(
    service: RunningService, document: dict[str, Any]
) -> None:
    found = service.client.validate(document)
    assert not found.violations
    assert found.plan == service_pb2.Plan(
        parameters=64 * 16 + 16 + 16 * 10 + 10,
        steps=46,
        steps_per_epoch=23,
        batch_size=64,
        shards=4,
        workers=2,
    )
    assert service.client.list() == []


@pytest.mark.parametrize(
    "settings",
    [("seed=-1", "train.batch_size=0"), ("train.batch_size=1438", "workers.count=9")],
    ids=["without the data", "beside the data"],
)
def test_validation_finds_what_a_submission_would_be_refused_for(
    service: RunningService, document: dict[str, Any], settings: tuple[str, ...]
) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        service.client.submit(document, set=settings)
    found = service.client.validate(document, set=settings)
    assert [(v.field, v.description) for v in found.violations] == [
        (v.field, v.description) for v in caught.value.violations
    ]
    assert len(found.violations) >= 2
    assert not found.HasField("plan")


def test_mistakes_that_only_the_wire_can_carry_are_validated_too(service: RunningService) -> None:
    stub = service_pb2_grpc.TrainerServiceStub(service.channel)
    response = stub.ValidateSpec(service_pb2.ValidateSpecRequest(), timeout=30)
    assert {"data", "model", "train"} <= {violation.field for violation in response.violations}


@pytest.mark.slow
def test_the_curves_of_a_run_are_thinned_out_and_chosen(
    service: RunningService, document: dict[str, Any]
) -> None:
    run = service.client.submit(document)
    assert run.points() == {}
    runner = service.next_runner()
    runner.take()
    for step in range(1, 31):
        runner.report(progress=run_pb2.Progress(step=step, e_in=1 / step, samples_per_second=9))
    runner.report(epoch=run_pb2.Epoch(epoch=1, step=30, e_out=0.25, accuracy=0.5))
    found = run.points()
    assert list(found) == ["e_in", "samples_per_second", "e_out", "metric_out"]
    assert found["e_in"] == [Point(step, 1 / step) for step in range(1, 31)]
    assert found["metric_out"] == [Point(30, 0.5)]
    few = run.points("e_in", max_points=5)
    assert list(few) == ["e_in"]
    assert (len(few["e_in"]), few["e_in"][0], few["e_in"][-1]) == (5, (1, 1), (30, 1 / 30))
    assert few == run.points("e_in", max_points=5)


def test_curves_that_cannot_be_are_refused(
    service: RunningService, document: dict[str, Any]
) -> None:
    run = service.client.submit(document)
    with pytest.raises(ValueError, match="there is no series 'loss'; there are e_in"):
        run.points("loss")
    for most in (-1, 1, 10_001):
        with pytest.raises(InvalidRequestError, match="max_points must be from 2 to 10000"):
            run.points(max_points=most)
    with pytest.raises(NotFoundError):
        service.client.points("r-9")


# --- limits -------------------------------------------------------------------------------------


def test_calls_beyond_the_limit_are_refused_at_once_and_runners_are_not(
    start_service: StartService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "CALL_WAITS", ())
    service = start_service(max_calls=1)
    run = service.client.submit(document)
    runner = service.next_runner()
    runner.take()
    working, go_on, waiting = RunStore.page, threading.Event(), threading.Semaphore(0)

    def page(*arguments: Any) -> list[StoredRun]:
        waiting.release()
        assert go_on.wait(30)
        return working(*arguments)

    monkeypatch.setattr(RunStore, "page", page)
    stub = service_pb2_grpc.TrainerServiceStub(service.channel)
    call = stub.ListRuns.future(service_pb2.ListRunsRequest(), timeout=30)
    assert waiting.acquire(timeout=30)
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetRun(service_pb2.GetRunRequest(id=run.id), timeout=30)
    info = error_details_pb2.ErrorInfo()
    assert rpc_status.from_call(caught.value).details[-1].Unpack(info)
    assert (caught.value.code(), info.reason) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "TOO_MANY_CALLS",
    )
    with pytest.raises(BusyError, match="has 1 calls under way"):
        run.refresh()
    health = health_pb2_grpc.HealthStub(service.channel)
    assert health.Check(health_pb2.HealthCheckRequest(), timeout=30).status
    assert not runner.report(progress=run_pb2.Progress(step=1))
    runner.report(finished=run_pb2.Result())
    go_on.set()
    assert len(call.result().runs) == 1
    assert eventually(lambda: run.refresh().state == SUCCEEDED)


def test_a_client_comes_back_to_a_service_that_was_busy(
    start_service: StartService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start_service(max_streams=1)
    monkeypatch.setattr(retry, "STREAM_WAITS", (0.05,) * 600)
    run = service.client.submit(document)
    runner = service.next_runner()
    runner.take()
    first = run.watch()
    next(first)
    with pytest.raises(BusyError, match="has 1 streams under way"):
        next(run.watch())
    runner.report(finished=run_pb2.Result())
    assert [response.event.state_change.state for response in first] == [SUCCEEDED]
    eventually(lambda: run.wait().state == SUCCEEDED)


def test_a_limit_that_lets_nobody_in_is_refused() -> None:
    with pytest.raises(UsageError, match="the limit idle_seconds must be ≥ 1, got 0"):
        ConnectionLimits(idle_seconds=0)
