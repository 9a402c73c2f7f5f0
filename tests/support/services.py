"""Services whose Ray and runners are played by the test."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

import grpc
import pytest

from sumgrad.trainer.client import Client
from sumgrad.trainer.service.cluster.launcher import JobState, Launch
from sumgrad.trainer.service.cluster.ray_api import RayError
from sumgrad.trainer.service.runs.stored_run import StoredRun
from sumgrad.trainer.service.runs.transitions import Change
from sumgrad.trainer.service.service import Service
from sumgrad.trainer.service.settings import Settings
from sumgrad.trainer.service.store.run_store import RunStore
from sumgrad.trainer.v1 import run_pb2, runner_pb2, runner_pb2_grpc

from support.waiting import SECONDS

T = TypeVar("T")

CORES = 2


def append(store: RunStore, run_id: str, events: Sequence[run_pb2.Event]) -> StoredRun | None:
    """Let events happen to a run, whatever it is like; the run, or None if there is none."""
    change = store.change(run_id, lambda stored: Change(stored, events))
    return None if change is None else change.stored


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
        return bool(self.response_to(*reports).cancel)

    def response_to(self, *reports: runner_pb2.RunReport) -> runner_pb2.ReportResponse:
        """Send these reports; what the service answers."""
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
    """A service with a fake launcher, a client of it and a channel to it.

    Attributes:
        parts: for what two calls at once over gRPC would only show sometimes.
    """

    def __init__(self, loop: Loop, launcher: FakeLauncher, settings: Settings) -> None:
        self.launcher = launcher
        self.loop = loop
        service = Service(settings)
        self.parts = loop.run(service.__aenter__())
        self._open = ExitStack()
        self._open.callback(lambda: loop.run(service.__aexit__(None, None, None)))
        loop.run(self.parts.ready())
        self.address = self.parts.address
        self.metrics_url = self.parts.metrics_url
        self.client = self._open.enter_context(Client(self.address))
        self.channel = self._open.enter_context(grpc.insecure_channel(self.address))

    def next_runner(self) -> PlayedRunner:
        """The runner of the next run that is launched."""
        return PlayedRunner(self.launcher.next_launch(), self.channel)

    def stop(self) -> None:
        self._open.close()


StartService = Callable[..., RunningService]


on_both_databases = pytest.mark.parametrize("store_url", ["sqlite", "postgres"], indirect=True)
