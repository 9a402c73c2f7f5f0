"""What several test files share: a small specification, a service whose Ray is played by the test,
waiting with a bound, and Prometheus's own checker."""

from __future__ import annotations

import asyncio
import os
import queue
import runpy
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from postgres_server import PostgresServer
from threadpoolctl import threadpool_limits

from trainer.client import Client
from trainer.service import attempts
from trainer.service.launcher import JobState, Launch
from trainer.service.ray_api import RayError
from trainer.service.run_manager import RunManager
from trainer.service.service import Service
from trainer.service.settings import Limits, Settings
from trainer.service.store import Store
from trainer.service.stored_run import StoredRun
from trainer.service.transitions import Change
from trainer.v1 import run_pb2, runner_pb2, runner_pb2_grpc

ROOT = Path(__file__).parents[1]
CORES = 2
SECONDS = 30.0
"""Bound of every wait; nothing that works takes this long."""

T = TypeVar("T")


def eventually(condition: Callable[[], T], seconds: float = SECONDS) -> T:
    """The condition's value as soon as it is true; AssertionError if that takes too long."""
    pause, deadline = threading.Event(), time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        pause.wait(0.02)
    return value


def append(store: Store, run_id: str, events: Sequence[run_pb2.Event]) -> StoredRun | None:
    """Let events happen to a run, whatever it is like; the run, or None if there is none."""
    change = store.change(run_id, lambda stored: Change(stored, events))
    return None if change is None else change.stored


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Of BLAS, as a worker has it: where cores are few, threads that wait for others spin."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def document() -> dict[str, Any]:
    """A small specification without mistakes."""
    return {
        "name": "small",
        "seed": 7,
        "data": {"type": "digits"},
        "model": {
            "layers": [{"type": "affine_relu", "units": 16}, {"type": "affine", "units": 10}],
            "loss": "cross_entropy",
        },
        "train": {
            "epochs": 2,
            "batch_size": 64,
            "shards": 4,
            "update": {"rule": "momentum", "learning_rate": 0.1, "momentum": 0.9},
        },
        "workers": {"count": 2, "vectors": "auto"},
    }


@pytest.fixture(scope="session")
def promtool() -> Callable[[str], None]:
    """Asserts that ``promtool check metrics`` has nothing to say of a scrape."""
    path = runpy.run_path(str(ROOT / "tools" / "fetch_promtool.py"))["promtool"]()
    if path is None:
        message = "promtool is missing: install Debian's package `prometheus`"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)

    def check(scrape: str) -> None:
        found = subprocess.run(
            [path, "check", "metrics"], input=scrape, capture_output=True, text=True, check=False
        )
        assert (found.stdout + found.stderr, found.returncode) == ("", 0)

    return check


# --- a service without Ray ---------------------------------------------------------------------


class FakeLauncher:
    """In the place of Ray: keeps what it is asked to launch; the test plays the runner.

    Attributes:
        errors: raised, one after the other, instead of launching.
        jobs: what it knows of; more may be added that others have launched.
        living: whether its Ray is.
        job_state, last_line: what it says of every job that it knows.
        silence: raised, while it is not None, when the cluster is asked for its CPUs.
    """

    def __init__(self) -> None:
        self.launched: queue.Queue[Launch] = queue.Queue()
        self.jobs: set[str] = set()
        self.stopped: queue.Queue[str] = queue.Queue()
        self.errors: list[Exception] = []
        self.living = True
        self.job_state = JobState.ALIVE
        self.silence: RayError | None = None
        self.last_line = ""

    async def start(self) -> None:
        pass

    async def cpus(self) -> tuple[float, ...]:
        if self.silence:
            raise self.silence
        return (CORES,)

    async def launch(self, launch: Launch) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.jobs.add(launch.job)
        self.launched.put(launch)

    def alive(self) -> bool:
        return self.living

    async def state(self, job: str) -> JobState:
        return self.job_state if job in self.jobs else JobState.ENDED

    async def log_tail(self, job: str) -> str:
        return self.last_line

    async def stop_job(self, job: str) -> None:
        self.stopped.put(job)

    async def close(self) -> None:
        pass

    def next_launch(self) -> Launch:
        return self.launched.get(timeout=SECONDS)


class PlayedRunner:
    """The runner of one attempt, as the service sees it."""

    def __init__(self, launch: Launch, channel: grpc.Channel) -> None:
        self.launch = launch
        self._who = {"id": launch.run_id, "attempt": launch.attempt, "token": launch.token}
        self._stub = runner_pb2_grpc.RunnerServiceStub(channel)
        self._number = 0

    def take(self) -> runner_pb2.TakeRunResponse:
        return self._stub.TakeRun(runner_pb2.TakeRunRequest(**self._who), timeout=SECONDS)

    def report(self, **kind: Any) -> bool:
        """Send one report, numbered; True if the runner is to stop."""
        self._number += 1
        return self.send(runner_pb2.RunReport(number=self._number, **kind))

    def send(self, *reports: runner_pb2.RunReport) -> bool:
        return bool(self.wishes(*reports).cancel)

    def wishes(self, *reports: runner_pb2.RunReport) -> runner_pb2.ReportResponse:
        """What the service answers to these reports."""
        request = runner_pb2.ReportRequest(**self._who, reports=reports)
        response: runner_pb2.ReportResponse = self._stub.Report(request, timeout=SECONDS)
        return response


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="services under test")
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(SECONDS)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()


class RunningService:
    """A service with a fake launcher, a client of it and a channel to it."""

    def __init__(self, loop: Loop, launcher: FakeLauncher, settings: Settings) -> None:
        self.launcher = launcher
        self.loop = loop
        self._service = Service(settings)
        loop.run(self._service.__aenter__())
        self._open = ExitStack()
        self._open.callback(lambda: loop.run(self._service.__aexit__(None, None, None)))
        loop.run(self._service.ready())
        self.address = self._service.address
        self.metrics_url = self._service.metrics_url
        self.client = self._open.enter_context(Client(self.address))
        self.channel = self._open.enter_context(grpc.insecure_channel(self.address))

    @property
    def manager(self) -> RunManager:
        """For what two calls at once over gRPC would only show sometimes."""
        return self._service._manager

    def next_runner(self) -> PlayedRunner:
        """The runner of the next run that is launched."""
        return PlayedRunner(self.launcher.next_launch(), self.channel)

    def stop(self) -> None:
        self._open.close()


StartService = Callable[..., RunningService]


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A Postgres of the tests' own."""
    found = runpy.run_path(str(ROOT / "tools" / "install_postgres.py"))
    folder = found["postgres"]()
    if folder is None:
        if os.environ.get("CI"):
            pytest.fail(found["MISSING"])
        pytest.skip(found["MISSING"])
    with PostgresServer(folder) as server:
        yield server


@pytest.fixture
def store_url(request: pytest.FixtureRequest) -> str | None:
    """Of the services' run store: SQLite's file, unless a test is marked to run on both."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return None
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_store()


on_both_databases = pytest.mark.parametrize("store_url", ["sqlite", "postgres"], indirect=True)


@pytest.fixture
def start_service(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store_url: str | None
) -> Iterator[StartService]:
    """Starts services on two cores and a state folder of the test's; stops them after it."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(CORES)))
    monkeypatch.setattr(attempts, "LOOK_UP_SECONDS", 0.05)
    started: list[RunningService] = []

    def start(
        temporary: bool = False,
        metrics_address: str | None = None,
        jobs: Collection[str] = (),
        address: str = "127.0.0.1:0",
        limits: Limits | None = None,
        **more: Any,
    ) -> RunningService:
        launcher = FakeLauncher()
        launcher.jobs.update(jobs)
        monkeypatch.setattr("trainer.service.service.Launcher", lambda *_: launcher)
        settings = Settings(
            tmp_path / "state",
            address,
            metrics_address,
            temporary,
            store_url,
            limits or Limits(),
            **more,
        )
        service = RunningService(loop, launcher, settings)
        started.append(service)
        return service

    yield start
    for service in started:
        service.stop()


@pytest.fixture
def service(start_service: StartService) -> RunningService:
    return start_service()
