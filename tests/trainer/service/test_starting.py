"""A service that cannot be started leaves nothing behind, whichever part it is that fails."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sumgrad.trainer.service import service as service_module
from sumgrad.trainer.service.cluster.attempts import Attempts
from sumgrad.trainer.service.cluster.local_ray import free_port
from sumgrad.trainer.service.prometheus import Metrics
from sumgrad.trainer.service.service import Service
from sumgrad.trainer.service.settings import Settings

from support.services import FakeLauncher, Loop
from support.waiting import eventually

T = TypeVar("T")

STEPS = 14
"""Things that a service with everything enters while it starts."""


class BrokenError(Exception):
    """A part could not be started."""


class BreakingStack(AsyncExitStack):
    """Raises when so many things have been entered.

    Attributes:
        left: how many more there may be.
    """

    left = 0

    def _count(self) -> None:
        BreakingStack.left -= 1
        if BreakingStack.left == 0:
            raise BrokenError

    def enter_context(self, cm: AbstractContextManager[T, Any]) -> T:
        entered = super().enter_context(cm)
        self._count()
        return entered

    async def enter_async_context(self, cm: AbstractAsyncContextManager[T, Any]) -> T:
        entered = await super().enter_async_context(cm)
        self._count()
        return entered

    def callback(self, callback: Any, /, *args: Any, **kwds: Any) -> Any:
        super().callback(callback, *args, **kwds)
        self._count()

    def push_async_callback(self, callback: Any, /, *args: Any, **kwds: Any) -> Any:
        super().push_async_callback(callback, *args, **kwds)
        self._count()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A service with every part that there is."""
    monkeypatch.setattr(service_module, "Launcher", lambda *_: FakeLauncher())
    address, runners, metrics = (f"127.0.0.1:{free_port()}" for _ in range(3))
    return Settings(
        state=tmp_path / "state",
        address=address,
        metrics_address=metrics,
        auth=True,
        runner_address=runners,
    )


@pytest.fixture
def start(loop: Loop, settings: Settings) -> Callable[[], None]:
    """Starts the service, and stops it if that succeeds."""

    async def start_and_stop() -> None:
        async with Service(settings) as service:
            await service.ready()

    return lambda: loop.run(start_and_stop())


def what_is_left(settings: Settings) -> list[str]:
    """Ports that are in use, locks that are held and files that are open."""
    found = [str(lock) for lock in (settings.state / "services").glob("*.lock")]
    for address in (settings.address, settings.metrics_address, settings.runner_address):
        assert address is not None
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            host, port = address.split(":")
            if probe.connect_ex((host, int(port))) == 0:
                found.append(address)
    for file in Path("/proc/self/fd").iterdir():
        try:
            opened = file.readlink()
        except OSError:  # the one that lists this folder
            continue
        if opened.is_relative_to(settings.state):
            found.append(str(opened))
    return found


def tasks_of(loop: Loop) -> set[asyncio.Task[Any]]:
    """The tasks that have not ended."""

    async def others() -> set[asyncio.Task[Any]]:
        return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]

    return loop.run(others())


def check_fails_without_a_trace(loop: Loop, start: Callable[[], None], settings: Settings) -> None:
    threads, tasks = set(threading.enumerate()), tasks_of(loop)
    with pytest.raises(BrokenError):
        start()
    # gRPC closes its ports a moment after it has stopped.
    assert eventually(lambda: what_is_left(settings) == [])
    assert eventually(lambda: set(threading.enumerate()) <= threads)
    assert eventually(lambda: tasks_of(loop) <= tasks)


@pytest.mark.slow
def test_a_service_leaves_nothing_when_it_stops(
    start: Callable[[], None], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "AsyncExitStack", BreakingStack)
    BreakingStack.left = STEPS + 1
    start()
    assert BreakingStack.left == 1
    # gRPC closes its ports a moment after it has stopped.
    assert eventually(lambda: what_is_left(settings) == [])


@pytest.mark.slow
@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_whatever_has_been_entered_is_left_again_where_the_next_step_fails(
    loop: Loop,
    start: Callable[[], None],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    start()  # gRPC's own thread stays for as long as the process does
    monkeypatch.setattr(service_module, "AsyncExitStack", BreakingStack)
    BreakingStack.left = step
    check_fails_without_a_trace(loop, start, settings)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "part"),
    [
        (service_module, "RunStore"),
        (service_module, "FileLocks"),
        (service_module, "Instance"),
        (service_module, "Authenticator"),
        (service_module, "Launcher"),
        (service_module, "WaitingRuns"),
        (service_module, "Runs"),
        (service_module, "Predictor"),
        (service_module, "Gate"),
        (service_module.servers, "client_server"),
        (service_module.servers, "runner_server"),
        (Metrics, "serve"),
        (service_module, "Attempts"),
        (service_module, "Submission"),
        (service_module, "RunnerCalls"),
        (service_module, "TrainerService"),
        (service_module, "RunnerService"),
        (Attempts, "start"),
        (service_module.servers, "answering"),
        (service_module, "StartedService"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whatever_has_been_entered_is_left_again_where_a_part_cannot_be_made(
    loop: Loop,
    start: Callable[[], None],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    part: str,
) -> None:
    start()

    def break_(*_: object, **__: object) -> None:
        raise BrokenError

    monkeypatch.setattr(owner, part, break_)
    check_fails_without_a_trace(loop, start, settings)
