"""What several test files share: a small specification, a service whose Ray is played by the test,
waiting with a bound, and Prometheus's own checker."""

from __future__ import annotations

import os
import runpy
import subprocess
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_limits

from sumgrad.trainer.service.cluster import attempts
from sumgrad.trainer.service.settings import Settings

from support.postgres_server import PostgresServer
from support.repository import ROOT
from support.services import CORES, FakeLauncher, Loop, RunningService, StartService


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start a Ray or a Postgres; ``make test-fast`` leaves them out."""
    system = ROOT / "tests" / "system"
    for item in items:
        if item.path.is_relative_to(system):
            item.add_marker("system")
        parameters = item.name.partition("[")[2]
        if "postgres" in parameters or "postgres_server" in getattr(item, "fixturenames", ()):
            item.add_marker("postgres")


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
        **more: Any,
    ) -> RunningService:
        launcher = FakeLauncher()
        launcher.jobs.update(jobs)
        monkeypatch.setattr("sumgrad.trainer.service.service.Launcher", lambda *_: launcher)
        settings = Settings(
            state=tmp_path / "state",
            address=address,
            metrics_address=metrics_address,
            temporary=temporary,
            store=store_url,
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
