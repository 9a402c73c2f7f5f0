"""Servers and workers as processes that a drill may end."""

from __future__ import annotations

import json
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

from sumgrad.workers.drills.drill import Action, FaultPlan

from support.training import (
    SECONDS,
)
from support.waiting import eventually

PROCESSES = multiprocessing.get_context("forkserver")


# Processes are forked from one that has imported what they need, which takes seconds.
PROCESSES.set_forkserver_preload(["sumgrad.trainer.server.parameter_server", "sklearn.datasets"])


def fired(plan: FaultPlan) -> list[tuple[str, int, str, str]]:
    """What the journal says has fired."""
    if not plan.journal.exists():
        return []
    lines = [json.loads(line) for line in plan.journal.read_text().splitlines()]
    return [(line["target"], line["step"], line["point"], line["action"]) for line in lines]


@contextmanager
def process(call: Callable[..., None], *arguments: object) -> Iterator[BaseProcess]:
    started = PROCESSES.Process(target=call, args=arguments)
    started.start()
    try:
        yield started
    finally:
        started.kill()
        started.join(SECONDS)
        started.close()


def assert_ended_by(process: BaseProcess, action: Action) -> None:
    """Wait until the process is killed, or stopped."""
    if action == "kill":
        process.join(SECONDS)
        assert process.exitcode == -signal.SIGKILL
        return
    status = Path(f"/proc/{process.pid}/status")
    eventually(lambda: "State:\tT (stopped)" in status.read_text())
