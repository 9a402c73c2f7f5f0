"""Services that a test kills: each a process of its own, forked from one that has all imported.

A line of JSON on standard input starts a service, whose address and process come back as another.
All end with this process.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, NamedTuple

import sumgrad.trainer.service.service
from sumgrad.trainer.service.cluster.launcher import JobState, Launch
from sumgrad.trainer.service.service import Service
from sumgrad.trainer.service.settings import Settings
from sumgrad.trainer.service.store.run_store import RunStore

from support.services import FakeLauncher

PR_SET_PDEATHSIG = 1

STEPS = (
    "before it is stored",
    "after it was stored",
    "before its attempt is stored",
    "after its attempt was stored",
    "after its launch",
)
"""Where a service kills itself, of a run's way from its submission to its job."""


class OutlivingJobs(FakeLauncher):
    """Jobs that go on when the service is killed; each is a line of a file."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    async def launch(self, launch: Launch) -> None:
        with self._file.open("a") as file:
            file.write(f"{launch.job}\n")

    async def state(self, job: str) -> JobState:
        known = self._file.exists() and job in self._file.read_text().split()
        return JobState.ALIVE if known else JobState.ENDED


class ServiceToKill(NamedTuple):
    address: str
    pid: int

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


@contextmanager
def services_to_kill(
    state: Path, store: str | None
) -> Iterator[Callable[[str | None], ServiceToKill]]:
    """Starts services on one run store; with a step's name, one that kills itself there."""
    with Popen(
        [sys.executable, "-m", __spec__.name, str(state), *([store] if store else [])],
        stdin=PIPE,
        stdout=PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        requests, answers = process.stdin, process.stdout

        def start(step: str | None = None) -> ServiceToKill:
            print(json.dumps(step), file=requests, flush=True)
            return ServiceToKill(*json.loads(answers.readline()))

        try:
            yield start
        finally:
            process.kill()


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_at(step: str, launcher: FakeLauncher) -> None:
    create, change, launch = RunStore.create, RunStore.change, launcher.launch

    def created(*arguments: Any) -> Any:
        return create(*arguments), _die()

    # Nothing changes a run before its first attempt.
    def begun(*arguments: Any) -> Any:
        return change(*arguments), _die()

    async def launched(*arguments: Any) -> Any:
        return await launch(*arguments), _die()

    match STEPS.index(step):
        case 0:
            RunStore.create = _die  # type: ignore[assignment,method-assign]
        case 1:
            RunStore.create = created  # type: ignore[method-assign]
        case 2:
            RunStore.change = _die  # type: ignore[assignment,method-assign]
        case 3:
            RunStore.change = begun  # type: ignore[method-assign]
        case 4:
            launcher.launch = launched  # type: ignore[method-assign]


async def _serve(state: Path, store: str | None, step: str | None) -> None:
    launcher = OutlivingJobs(state / "jobs")
    sumgrad.trainer.service.service.Launcher = lambda *_: launcher  # type: ignore[assignment,misc]
    if step is not None:
        _kill_at(step, launcher)
    async with Service(
        Settings(state=state, address="127.0.0.1:0", metrics_address=None, store=store)
    ) as service:
        await service.ready()
        print(json.dumps([service.address, os.getpid()]), flush=True)
        await asyncio.Event().wait()


def _main(state: Path, store: str | None) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            asyncio.run(_serve(state, store, json.loads(line)))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
