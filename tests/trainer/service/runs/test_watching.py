"""Streams of events: cursors, heartbeats, slow readers, many readers, and services that restart."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from sumgrad.trainer.client import AsyncClient, Client, CursorExpiredError, NotFoundError, RunHandle
from sumgrad.trainer.service.queue.waiting_runs import WaitingRuns
from sumgrad.trainer.service.runs import watching
from sumgrad.trainer.service.runs.watching import Feed, Watching
from sumgrad.trainer.service.settings import ConnectionLimits
from sumgrad.trainer.service.store.run_store import RunStore
from sumgrad.trainer.service.store.store_threads import StoreThreads
from sumgrad.trainer.v1 import run_pb2, runner_pb2, service_pb2, service_pb2_grpc

from support.services import PlayedRunner, RunningService, StartService, append
from support.waiting import eventually

SUCCEEDED = run_pb2.RUN_STATE_SUCCEEDED


def running(service: RunningService, document: dict[str, Any]) -> tuple[RunHandle, PlayedRunner]:
    run = service.client.submit(document)
    runner = service.next_runner()
    runner.take()
    return run, runner


def stream(service: RunningService, run_id: str, **fields: Any) -> Any:
    stub = service_pb2_grpc.TrainerServiceStub(service.channel)
    return stub.WatchRun(service_pb2.WatchRunRequest(id=run_id, **fields), timeout=30)


def logs(service: RunningService, run_id: str, **fields: Any) -> Any:
    stub = service_pb2_grpc.TrainerServiceStub(service.channel)
    request = service_pb2.StreamLogsRequest(id=run_id, follow=True, **fields)
    return stub.StreamLogs(request, timeout=30)


def error_info(error: grpc.RpcError) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    assert rpc_status.from_call(error).details[-1].Unpack(info)
    return info


def report_steps(runner: PlayedRunner, count: int, first: int = 1) -> None:
    for step in range(first, first + count):
        runner.report(progress=run_pb2.Progress(step=step))


def test_a_stream_from_a_cursor_has_every_later_event_and_no_snapshot(
    service: RunningService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "EVENTS_AT_ONCE", 3)
    run, runner = running(service, document)
    report_steps(runner, 10)
    runner.report(finished=run_pb2.Result())
    recorded = list(run.events())
    last = recorded[-1].sequence
    for after in range(last + 1):
        found = list(stream(service, run.id, after_sequence=after))
        assert [response.event for response in found] == recorded[after:]


def test_a_cursor_that_no_event_has_is_refused_with_the_last_one_that_there_is(
    service: RunningService, document: dict[str, Any]
) -> None:
    run, _ = running(service, document)
    last = list(run.events())[-1].sequence
    with pytest.raises(grpc.RpcError) as caught:
        next(stream(service, run.id, after_sequence=last + 1))
    info = error_info(caught.value)
    assert (caught.value.code(), info.reason) == (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_EXPIRED")
    assert dict(info.metadata) == {"run": run.id, "after_sequence": str(last)}
    with pytest.raises(CursorExpiredError, match="cursor expired"):
        next(run.watch(after=2**64 - 1))


def test_a_cursor_into_a_run_that_was_deleted_is_not_found(
    service: RunningService, document: dict[str, Any]
) -> None:
    run, runner = running(service, document)
    runner.report(finished=run_pb2.Result())
    run.delete()
    with pytest.raises(NotFoundError):
        next(run.watch(after=2))


@pytest.mark.slow
def test_a_stream_on_which_nothing_happens_says_that_it_is_there(
    service: RunningService, document: dict[str, Any]
) -> None:
    run, runner = running(service, document)
    quiet = stream(service, run.id, heartbeat_seconds=0.1)
    sequence = next(quiet).snapshot.sequence
    assert [next(quiet).heartbeat.sequence for _ in range(2)] == [sequence, sequence]
    runner.report(finished=run_pb2.Result())
    [ended] = [response for response in quiet if not response.HasField("heartbeat")]
    assert (ended.event.sequence, ended.event.state_change.state) == (sequence + 1, SUCCEEDED)


@pytest.mark.slow
def test_a_log_that_is_followed_and_has_no_new_lines_says_that_it_is_there(
    service: RunningService, document: dict[str, Any]
) -> None:
    run, runner = running(service, document)
    quiet = logs(service, run.id, heartbeat_seconds=0.1)
    while (sequence := next(quiet).sequence) < 2:  # launching, running
        pass
    alive = service_pb2.StreamLogsResponse(sequence=sequence)
    assert [next(quiet) for _ in range(2)] == [alive, alive]
    request = runner_pb2.ReportRequest(
        **runner._who, log=[run_pb2.LogLine(sequence=1, message="last")]
    )
    request.reports.add(number=1, finished=run_pb2.Result())
    runner._stub.Report(request, timeout=30)
    [last] = [response for response in quiet if response.lines]
    assert (last.sequence, last.lines[0].message) == (sequence + 1, "last")
    # One that is not followed has an end instead.
    assert all(response.lines for response in logs(service, run.id, heartbeat_seconds=0.1))


@pytest.mark.parametrize("seconds", [-1, 0.01, 61, float("nan"), float("inf")])
@pytest.mark.parametrize("call", [stream, logs])
def test_a_heartbeat_that_cannot_be_is_refused(
    service: RunningService, call: Callable[..., Any], seconds: float
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        next(call(service, "r-1", heartbeat_seconds=seconds))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert dict(error_info(caught.value).metadata) == {"field": "heartbeat_seconds"}


# --- slow readers, many readers -----------------------------------------------------------------


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The cursor of each page of events that is read from the store."""
    working: Any = RunStore.events
    found: list[int] = []

    def events(store: RunStore, run_id: str, after: int, limit: int) -> list[run_pb2.Event]:
        found.append(after)
        return working(store, run_id, after, limit)

    monkeypatch.setattr(RunStore, "events", events)
    return found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    store = RunStore(tmp_path / "runs.db")
    store.create(run_pb2.Run(id="r-1"), "service")
    yield store
    store.close()


def step(number: int) -> run_pb2.Event:
    return run_pb2.Event(progress=run_pb2.Progress(step=number))


def end() -> run_pb2.Event:
    return run_pb2.Event(state_change=run_pb2.StateChange(state=SUCCEEDED))


def test_a_reader_that_stops_reading_has_one_page_read_for_it(
    store: RunStore, pages: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "EVENTS_AT_ONCE", 10)
    append(store, "r-1", [*map(step, range(1, 100)), end()])

    async def read() -> None:
        threads = StoreThreads()
        async with aclosing(
            Watching(store, threads, WaitingRuns(1, time.monotonic, time.time)).watch("r-1", 0, 15)
        ) as events:
            for sequence in range(1, 101):
                event = await anext(events)
                assert isinstance(event, run_pb2.Event)
                assert event.sequence == sequence
                assert pages == list(range(0, sequence, 10))
        threads.close()

    asyncio.run(read())


def report_at_length(runner: PlayedRunner) -> None:
    """Events 4 to 364, with the run's end: more than gRPC takes for a reader that does not read."""
    long = run_pb2.Membership(worker="w-1", joined=True, reason="x" * 100_000)
    for call in range(12):
        numbers = range(30 * call + 1, 30 * call + 31)
        runner.send(*(runner_pb2.RunReport(number=n, membership=long) for n in numbers))
    runner.send(runner_pb2.RunReport(number=361, finished=run_pb2.Result()))


@pytest.mark.slow
def test_a_client_that_does_not_read_is_not_read_ahead_for_and_loses_nothing(
    service: RunningService,
    document: dict[str, Any],
    pages: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "EVENTS_AT_ONCE", 5)
    run, runner = running(service, document)
    report_at_length(runner)
    with grpc.insecure_channel(service.address) as channel:
        stub = service_pb2_grpc.TrainerServiceStub(channel)
        slow = stub.WatchRun(service_pb2.WatchRunRequest(id=run.id, after_sequence=0), timeout=60)
        first = next(slow)
        before = len(pages)
        for _ in range(100):  # a service that reads ahead would have read all of it by then
            service.client.get(run.id)
        assert before <= len(pages) < 36
        sequences = [first.event.sequence, *(response.event.sequence for response in slow)]
    assert sequences == list(range(1, 365))
    assert len(pages) >= 72


@pytest.mark.slow
def test_a_reader_that_was_stopped_for_too_long_is_told_so_and_goes_on_without_a_gap(
    start_service: StartService, document: dict[str, Any]
) -> None:
    service = start_service(limits=ConnectionLimits(reader_seconds=1))
    run, runner = running(service, document)
    report_at_length(runner)
    with grpc.insecure_channel(service.address) as channel:
        stub = service_pb2_grpc.TrainerServiceStub(channel)
        stopped = stub.WatchRun(service_pb2.WatchRunRequest(id=run.id, after_sequence=0))
        sequences = [next(stopped).event.sequence]
        eventually(lambda: not service.parts.runs.watching._feeds)
        with pytest.raises(grpc.RpcError) as caught:
            sequences.extend(response.event.sequence for response in stopped)
    assert error_info(caught.value).reason == "SLOW_READER"
    assert len(sequences) < 364
    sequences.extend(response.event.sequence for response in run.watch(after=sequences[-1]))
    assert sequences == list(range(1, 365))


@pytest.mark.slow
def test_a_hundred_who_watch_have_each_event_read_once(store: RunStore, pages: list[int]) -> None:
    async def watch() -> None:
        threads = StoreThreads()
        watched = Watching(store, threads, WaitingRuns(1, time.monotonic, time.time))

        async def read() -> list[int]:
            async with aclosing(watched.watch("r-1", 0, 15)) as events:
                return [e.sequence async for e in events if isinstance(e, run_pb2.Event)]

        readers = [asyncio.create_task(read()) for _ in range(100)]
        for event in [*map(step, range(1, 40)), end()]:
            stored = await threads.write(append, store, "r-1", [event])
            assert stored is not None
            watched.announce("r-1", stored.sequence)
        async with asyncio.timeout(30):
            assert await asyncio.gather(*readers) == [list(range(1, 41))] * 100
        threads.close()

    asyncio.run(watch())
    # A look that is under way when an event comes may miss it, and the next one finds it.
    assert len(pages) <= 2 * 40 + 1


class WhileLooking(StoreThreads):
    """An event is stored and announced when a look for it has come to nothing."""

    feed: Feed

    async def read(self, method: Callable[..., Any], *arguments: object) -> Any:
        found = method(*arguments)
        if found == []:
            append(method.__self__, "r-1", [step(1)])
            self.feed.announce(1)
        return found


def test_an_event_that_comes_during_a_look_is_there_at_the_next_look(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_UP_SECONDS", 3600.0)

    async def look() -> None:
        threads = WhileLooking()
        feed = threads.feed = Feed("r-1", store, threads)
        assert await feed.page(0) == []
        await feed.grown(0, 3600.0)
        assert [event.sequence for event in await feed.page(0)] == [1]
        threads.close()

    asyncio.run(look())


def test_nothing_is_kept_of_a_run_that_nobody_watches_any_more(store: RunStore) -> None:
    async def watch() -> None:
        threads = StoreThreads()
        watched = Watching(store, threads, WaitingRuns(1, time.monotonic, time.time))
        async with aclosing(watched.watch("r-1", None, 15)) as events:
            await anext(events)
            assert watched._feeds
        assert not watched._feeds
        threads.close()

    asyncio.run(watch())


# --- services that stop and come back -----------------------------------------------------------


@pytest.mark.slow
def test_a_service_that_stops_ends_its_streams_with_the_cursor_to_go_on_from(
    service: RunningService, document: dict[str, Any]
) -> None:
    run, runner = running(service, document)
    with grpc.insecure_channel(service.address) as channel:
        stub = service_pb2_grpc.TrainerServiceStub(channel)
        responses = stub.WatchRun(service_pb2.WatchRunRequest(id=run.id), timeout=30)
        sequence = next(responses).snapshot.sequence
        report_steps(runner, 1)
        assert next(responses).event.sequence == sequence + 1
        service.stop()
        with pytest.raises(grpc.RpcError) as caught:
            next(responses)
    info = error_info(caught.value)
    assert (caught.value.code(), info.reason) == (
        grpc.StatusCode.UNAVAILABLE,
        "SERVICE_STOPPING",
    )
    assert dict(info.metadata) == {"run": run.id, "after_sequence": str(sequence + 1)}


@pytest.mark.slow
def test_a_service_that_stops_ends_its_log_streams_with_the_cursor_too(
    service: RunningService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sumgrad.trainer.service.calls.servers.STOP_SECONDS", 30.0)
    run, runner = running(service, document)
    lines = [run_pb2.LogLine(sequence=number, message="x" * 10_000) for number in range(1, 101)]
    for _ in range(10):  # 10 MB, which gRPC does not take for a reader that does not read
        runner._stub.Report(runner_pb2.ReportRequest(**runner._who, log=lines), timeout=30)
        for each in lines:
            each.sequence += 100
    with grpc.insecure_channel(service.address) as channel:
        stub = service_pb2_grpc.TrainerServiceStub(channel)
        follower = stub.StreamLogs(service_pb2.StreamLogsRequest(id=run.id, follow=True))
        followed = [each.sequence for each in lines_of(follower, 1002)]
        behind = stub.StreamLogs(service_pb2.StreamLogsRequest(id=run.id))
        read = [each.sequence for each in next(behind).lines]
        with ThreadPoolExecutor(1) as stopping:
            stopped = stopping.submit(service.stop)
            for stream, seen in ((follower, followed), (behind, read)):
                with pytest.raises(grpc.RpcError) as caught:
                    seen.extend(each.sequence for each in lines_of(stream))
                assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
                info = error_info(caught.value)
                assert info.reason == "SERVICE_STOPPING"
                assert seen == list(range(1, int(info.metadata["after_sequence"]) + 1))
            stopped.result(30)
    assert len(read) < 1002


def lines_of(stream: Any, most: int | None = None) -> Iterator[run_pb2.LogLine]:
    """Of a log, as they come."""
    return islice((line for response in stream for line in response.lines), most)


class Reader(threading.Thread):
    """Watches a run with a client of the one kind or the other, and keeps what comes."""

    def __init__(self, address: str, run_id: str, asynchronous: bool) -> None:
        super().__init__(daemon=True)
        self.found: list[service_pb2.WatchRunResponse] = []
        self._address, self._run_id, self._asynchronous = address, run_id, asynchronous

    def run(self) -> None:
        if self._asynchronous:
            asyncio.run(self._watch())
            return
        with Client(self._address) as client:
            for response in client.watch(self._run_id, timeout=60):
                self.found.append(response)

    async def _watch(self) -> None:
        async with AsyncClient(self._address) as client:
            async for response in client.watch(self._run_id, timeout=60):
                self.found.append(response)


@pytest.mark.slow
@pytest.mark.parametrize("asynchronous", [False, True], ids=["Client", "AsyncClient"])
def test_a_client_goes_on_at_the_restarted_service_without_gap_or_duplicate(
    start_service: StartService, document: dict[str, Any], asynchronous: bool
) -> None:
    service = start_service()
    run = service.client.submit(document)
    launch = service.launcher.next_launch()
    PlayedRunner(launch, service.channel).take()
    reader = Reader(service.address, run.id, asynchronous)
    reader.start()
    number = 0
    for _ in range(3):
        eventually(lambda: reader.found)
        runner = PlayedRunner(launch, service.channel)
        reports = [
            runner_pb2.RunReport(number=n, progress=run_pb2.Progress(step=n))
            for n in range(number + 1, number + 11)
        ]
        runner.send(*reports)
        number += 10
        service.stop()
        service = start_service(address=service.address, jobs={launch.job})
    done = runner_pb2.RunReport(number=number + 1, finished=run_pb2.Result(steps=30))
    PlayedRunner(launch, service.channel).send(done)
    reader.join(60)
    assert not reader.is_alive()
    snapshot, *events = reader.found
    recorded = list(service.client.events(run.id))
    assert [response.event for response in events] == recorded[snapshot.snapshot.sequence :]
    steps = [event.progress.step for event in recorded if event.HasField("progress")]
    assert steps == list(range(1, 31))
