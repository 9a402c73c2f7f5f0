"""A service that stands still, a store that does, and calls whose time is over."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from sumgrad.trainer.client import AsyncClient, Client, UnreachableError, connection
from sumgrad.trainer.client.streams import log_reading, retry
from sumgrad.trainer.service.store.run_store import RunStore
from sumgrad.trainer.v1 import run_pb2, service_pb2, service_pb2_grpc

from support.services import RunningService, StartService
from support.services_to_kill import ServiceToKill, services_to_kill
from support.waiting import SECONDS, eventually

CANCELLED = run_pb2.RUN_STATE_CANCELLED


# --- a process that is stopped ------------------------------------------------------------------


@pytest.fixture
def stalled(tmp_path: Path) -> Iterator[ServiceToKill]:
    """A service in a process of its own, to be stopped and continued."""
    (tmp_path / "state").mkdir()
    with services_to_kill(tmp_path / "state", None) as start:
        yield start(None)


@pytest.fixture
def silences(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows whenever a client finds a stream silent, soon."""
    found: list[str] = []
    silent = connection.silent

    def noticed(address: str) -> UnreachableError:
        found.append(address)
        return silent(address)

    monkeypatch.setattr(connection, "silent", noticed)
    monkeypatch.setattr(connection, "SILENCE_SECONDS", 0.4)
    monkeypatch.setattr(retry, "STREAM_WAITS", (0.0,) * 60)
    monkeypatch.setattr(log_reading, "RECONNECT_SECONDS", 0.0)
    return found


def watched(response: service_pb2.WatchRunResponse) -> list[int]:
    sequence = response.snapshot.sequence or response.event.sequence
    return [sequence] if sequence else []  # none has where the run stands in the queue


def read(response: service_pb2.StreamLogsResponse) -> list[int]:
    return [line.sequence for line in response.lines]


STREAMS: dict[str, tuple[Callable[[Any, str], Any], Callable[[Any], list[int]]]] = {
    "watch": (lambda client, run_id: client.watch(run_id), watched),
    "logs": (lambda client, run_id: client.logs(run_id, follow=True), read),
}


def follow(address: str, run_id: str, kind: str, asynchronous: bool, seen: list[int]) -> None:
    """Keep the sequence numbers that a stream brings."""
    stream, numbers = STREAMS[kind]

    async def follow_on_loop() -> None:
        async with AsyncClient(address) as client:
            async for response in stream(client, run_id):
                seen.extend(numbers(response))

    if asynchronous:
        asyncio.run(follow_on_loop())
        return
    with Client(address) as client:
        for response in stream(client, run_id):
            seen.extend(numbers(response))


@pytest.mark.slow
@pytest.mark.parametrize("asynchronous", [False, True], ids=["Client", "AsyncClient"])
@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_outlives_a_service_that_stands_still_for_a_while(
    stalled: ServiceToKill,
    silences: list[str],
    document: dict[str, Any],
    kind: str,
    asynchronous: bool,
) -> None:
    document["workers"]["count"] = len(os.sched_getaffinity(0))
    seen: list[int] = []
    with Client(stalled.address) as client:
        client.submit(document)  # has every CPU, so that the next one waits
        run = client.submit(document)
        run.pause()
        run.resume()
        reader = threading.Thread(
            target=follow, args=(stalled.address, run.id, kind, asynchronous, seen)
        )
        reader.start()
        eventually(lambda: seen)
        os.kill(stalled.pid, signal.SIGSTOP)
        silences.clear()
        eventually(lambda: len(silences) >= 2)  # the new stream is silent, too
        os.kill(stalled.pid, signal.SIGCONT)
        run.cancel()
        reader.join(SECONDS)
        assert not reader.is_alive()
        last = [event.sequence for event in run.events()][-1]
    assert run.info.state == CANCELLED
    # Of events, the first is the snapshot's.
    assert seen == list(range(seen[0], last + 1 if kind == "watch" else len(seen) + 1))


# --- calls with a deadline ----------------------------------------------------------------------


def stub(service: RunningService) -> Any:
    return service_pb2_grpc.TrainerServiceStub(service.channel)


def open_logs() -> list[str]:
    """Logs that this process has open."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except FileNotFoundError:  # closed meanwhile
            continue
    return [path for path in found if path.endswith("log.jsonl")]


@pytest.mark.slow
def test_a_stream_whose_deadline_passes_ends_and_holds_nothing(
    service: RunningService, document: dict[str, Any]
) -> None:
    run = service.client.submit(document)
    service.next_runner().take()
    watching = stub(service).WatchRun(service_pb2.WatchRunRequest(id=run.id), timeout=2)
    logs = stub(service).StreamLogs(
        service_pb2.StreamLogsRequest(id=run.id, follow=True), timeout=2
    )
    assert next(watching).snapshot.run.id == run.id
    assert next(logs).lines
    assert service.parts.runs.watching._feeds
    assert open_logs()
    for stream in (watching, logs):
        with pytest.raises(grpc.RpcError) as caught:
            list(stream)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(lambda: not service.parts.runs.watching._feeds and not open_logs())


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The store finds no run before this is set."""
    go_on, get = threading.Event(), RunStore.get

    def stuck_get(store: RunStore, run_id: str) -> Any:
        assert go_on.wait(SECONDS)
        return get(store, run_id)

    monkeypatch.setattr(RunStore, "get", stuck_get)
    yield go_on
    go_on.set()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["GetRun", "WatchRun", "StreamLogs"])
def test_a_call_whose_deadline_passes_while_the_store_stands_still_takes_no_place(
    start_service: StartService,
    document: dict[str, Any],
    stuck: threading.Event,
    method: str,
) -> None:
    service = start_service(max_calls=1, max_streams=1)
    run = service.client.submit(document)
    ask = getattr(stub(service), method)
    request = getattr(service_pb2, f"{method}Request")(id=run.id)
    for _ in range(3):
        eventually(lambda: code_of(ask, request) == grpc.StatusCode.DEADLINE_EXCEEDED)
    stuck.set()
    eventually(lambda: code_of(ask, request) == grpc.StatusCode.OK)


def code_of(ask: Callable[..., Any], request: Any) -> grpc.StatusCode:
    """How the call ends, or its first response comes, soon."""
    try:
        response = ask(request, timeout=0.4)
        if isinstance(response, grpc.Call):
            next(response)
            response.cancel()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK
