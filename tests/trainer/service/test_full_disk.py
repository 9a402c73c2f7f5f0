"""A service whose disk is full: it says so, loses no run that it took, and goes on when it can."""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import grpc
import pytest

from sumgrad.trainer.client import UnreachableError
from sumgrad.trainer.client.streams import retry
from sumgrad.trainer.service.store.run_store import RunStore
from sumgrad.trainer.v1 import run_pb2, runner_pb2

from support.services import PlayedRunner, RunningService, StartService
from support.waiting import eventually

PAGE = 4096
ROOMS = range(0, 40 * PAGE, 6500)
"""Bytes that are left: the disk is full in the middle of a page, of a transaction, and between."""


class Disk(Protocol):
    def fill(self, room: int) -> None:
        """Leave so many bytes."""

    def free(self) -> None: ...


class LimitedFiles:
    """No file of this process grows beyond the run store's log of writes. Needs no privilege."""

    def __init__(self, state: Path) -> None:
        self._log = state / "runs.db-wal"
        self._soft, self._hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self, room: int) -> None:
        size = self._log.stat().st_size + room
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, self._hard))

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._soft, self._hard))


class SmallDisk:
    """A file system of 4 MiB in memory, in which the service's folder lies."""

    def __init__(self, state: Path) -> None:
        self._filler = state / "filler"

    def fill(self, room: int) -> None:
        with self._filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(PAGE))
            except OSError:
                file.truncate(file.tell() - room // PAGE * PAGE)

    def free(self) -> None:
        self._filler.unlink()


@pytest.fixture(params=["limited files", "small disk"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    state = tmp_path / "state"
    state.mkdir()
    if request.param == "limited files":
        limited = LimitedFiles(state)
        yield limited
        limited.free()
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", bytes(state), b"tmpfs", 0, b"size=4m") != 0:
        pytest.skip(f"no file system can be mounted: {os.strerror(ctypes.get_errno())}")
    yield SmallDisk(state)
    assert libc.umount2(bytes(state), 2) == 0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that do not try again by themselves."""
    monkeypatch.setattr(retry, "CALL_WAITS", ())


def fill_with_runs(service: RunningService, document: dict[str, Any], name: str) -> list[str]:
    """Submit until there is no room; the runs that were taken. The last one was not."""
    taken: list[str] = []

    def submit_on_and_on() -> None:
        while True:
            run = service.client.submit(document, request_id=f"{name}, {len(taken)}")
            taken.append(run.id)

    with pytest.raises(
        UnreachableError, match=r"run store .*runs\.db cannot be used now"
    ) as caught:
        submit_on_and_on()
    assert caught.value.reason == "STORE_UNAVAILABLE"
    return taken


def ids(store: RunStore) -> list[str]:
    return [stored.run.id for stored in store.page(None, 1000)][::-1]


@pytest.mark.slow
def test_a_run_that_was_taken_is_there_and_one_that_was_not_is_taken_when_there_is_room(
    disk: Disk, start_service: StartService, document: dict[str, Any], tmp_path: Path
) -> None:
    service = start_service()
    taken = [service.client.submit(document).id]
    for room in ROOMS:
        disk.fill(room)
        found = fill_with_runs(service, document, f"{room}")
        assert [run.id for run in service.client.list(1000, oldest_first=True)] == taken + found
        disk.free()
        again = service.client.submit(document, request_id=f"{room}, {len(found)}")
        once = service.client.submit(document, request_id=f"{room}, {len(found)}")
        assert again.id == once.id
        taken += [*found, again.id]
    assert len(taken) >= 2 * len(ROOMS)
    disk.fill(0)
    service.stop()
    disk.free()
    store = RunStore(tmp_path / "state" / "runs.db")
    assert ids(store) == taken
    store.close()
    assert [run.id for run in start_service().client.list(1000, oldest_first=True)] == taken


def test_a_run_goes_on_when_there_is_room_for_what_its_runner_reports(
    disk: Disk, start_service: StartService, document: dict[str, Any]
) -> None:
    service = start_service()
    run = service.client.submit(document)
    runner = service.next_runner()
    runner.take()
    waiting = service.client.submit(document)
    disk.fill(0)
    finished = runner_pb2.RunReport(number=1, finished=run_pb2.Result(steps=46))
    with pytest.raises(grpc.RpcError) as caught:
        runner.send(finished)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    with pytest.raises(UnreachableError, match="cannot be used now"):
        waiting.cancel()
    assert run.refresh().state == run_pb2.RUN_STATE_RUNNING
    disk.free()
    runner.send(finished)
    assert run.refresh().state == run_pb2.RUN_STATE_SUCCEEDED
    PlayedRunner(service.launcher.next_launch(), service.channel).take()
    assert waiting.refresh().state == run_pb2.RUN_STATE_RUNNING


@pytest.mark.slow
def test_a_queued_run_is_launched_once_when_there_is_room(
    disk: Disk, start_service: StartService, document: dict[str, Any]
) -> None:
    service = start_service()
    first = service.client.submit(document)
    runner = service.next_runner()
    runner.take()
    second = service.client.submit(document)
    done = runner_pb2.RunReport(number=1, finished=run_pb2.Result(steps=46))
    room = 0
    while first.refresh().state != run_pb2.RUN_STATE_SUCCEEDED:
        disk.fill(room := room + PAGE)  # just so much that the report is stored
        try:
            runner.send(done)
        except grpc.RpcError:
            disk.free()
    disk.free()
    assert service.launcher.next_launch().run_id == second.id
    eventually(lambda: second.refresh().state == run_pb2.RUN_STATE_LAUNCHING)
    assert service.launcher.launched.empty()
