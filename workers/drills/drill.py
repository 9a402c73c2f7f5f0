"""Drills: faults on purpose, to show what a run does when one of its processes fails.

A fault is part of the run's specification. It is written to the journal before it takes effect, so
that its line is there even if the process is not.
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn

from sumgrad.layers.base.hyperparameters import InvalidHyperparameterError, at_least, require

Point = Literal["compute", "answer", "gathered", "applying", "applied", "snapshot", "progress"]
Action = Literal["raise", "kill", "stop", "delay", "poison"]

POINTS: dict[str, tuple[Point, ...]] = {
    "worker": ("compute", "answer"),
    "server": ("gathered", "applying", "applied", "snapshot"),
    "runner": ("progress",),
}
"""Where each kind of process can fail, in the order in which a step comes by."""

MAX_DELAY_SECONDS = 3600.0

_WORKER = re.compile(r"worker-\d{1,4}", re.ASCII)


class InjectedFaultError(RuntimeError):
    """A drill asked for this error."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong, where and when.

    Attributes:
        target: ``server``, ``runner`` or a worker's name, such as ``worker-0``.
        step: counted from 1; the fault fires when its target first comes to the point in this
            step or a later one.
        point: ``compute``, before a worker computes a gradient; ``answer``, before it sends it;
            ``gathered``, when the server has all gradients; ``applying``, when it has changed
            the first block of the weights; ``applied``, when workers may see the new weights;
            ``snapshot``, while one is written; ``progress``, when the runner gets its report.
        action: an error, SIGKILL, SIGSTOP, a pause, or a NaN in a worker's gradient.
        seconds: of a delay.
        every_attempt: without it the fault fires once in the first attempt at the run; with it,
            once in each process that the target has in any attempt.
    """

    target: str
    step: int
    point: Point
    action: Action
    seconds: float = 0.0
    every_attempt: bool = False

    def __post_init__(self) -> None:
        require(self, step=at_least(1))
        is_worker = _WORKER.fullmatch(self.target) is not None
        if not is_worker and self.target not in ("server", "runner"):
            _refuse("target", f"must be server, runner or worker-<number>, got {self.target!r}")
        points = POINTS["worker" if is_worker else self.target]
        if self.point not in points:
            _refuse("point", f"must be one of {', '.join(points)} here, got {self.point!r}")
        if self.action == "poison" and not is_worker:
            _refuse("action", f"poison is for workers' gradients, the target is {self.target}")
        if self.action == "delay" and not 0 < self.seconds <= MAX_DELAY_SECONDS:
            _refuse(
                "seconds", f"must be in (0, {MAX_DELAY_SECONDS:g}] to delay, got {self.seconds}"
            )
        if self.action != "delay" and self.seconds != 0:
            _refuse("seconds", f"is for the action delay, the action is {self.action}")


def _refuse(field: str, problem: str) -> NoReturn:
    raise InvalidHyperparameterError([(field, problem)])


@dataclass(frozen=True)
class FaultPlan:
    """The faults of a run, for each of its processes.

    Attributes:
        journal: a line of JSON is appended to this file for each fault that fires; every
            process of the run must reach it.
    """

    faults: tuple[Fault, ...] = ()
    attempt: int = 1
    journal: Path = Path("faults.jsonl")

    def drill(self, target: str) -> Drill:
        """What is planned for one process."""
        return Drill(self, target)


NO_FAULTS = FaultPlan()


@dataclass
class Drill:
    """The faults of one process; safe to use from any thread."""

    _plan: FaultPlan
    _target: str
    _left: list[int] = field(init=False)
    """Positions in the plan of the faults that can still fire in this process."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._left = [
            i
            for i, fault in enumerate(self._plan.faults)
            if fault.target == self._target and (fault.every_attempt or self._plan.attempt == 1)
        ]

    def at(self, point: Point, step: int) -> bool:
        """Carry out what is planned for this point of the step (counted from 1).

        Returns:
            Whether the gradient is to be poisoned.

        Raises:
            InjectedFaultError: the action is ``raise``.
        """
        if not self._left:
            return False
        with self._lock:
            due = [i for i in self._left if self._is_due(i, point, step)]
            self._left = [i for i in self._left if i not in due]
        poisoned = False
        for i in due:
            fault = self._plan.faults[i]
            if fault.every_attempt or not self._has_fired(i):
                self._report(i, step)
                poisoned |= fault.action == "poison"
                _take_effect(fault, step)
        return poisoned

    def hook(self, point: Point, step: int) -> Callable[[], object] | None:
        """``at`` as a call for inner loops, None where nothing is planned for this point."""
        if any(self._is_due(i, point, step) for i in self._left):
            return lambda: self.at(point, step)
        return None

    def _is_due(self, index: int, point: Point, step: int) -> bool:
        fault = self._plan.faults[index]
        return fault.point == point and fault.step <= step

    def _has_fired(self, index: int) -> bool:
        """Whether it fired in an earlier process, which this worker replaces."""
        try:
            lines = self._plan.journal.read_text().splitlines()
        except FileNotFoundError:
            return False
        return any(json.loads(line)["fault"] == index for line in lines)

    def _report(self, index: int, step: int) -> None:
        fault = self._plan.faults[index]
        line = {
            "fault": index,
            "target": fault.target,
            "step": step,
            "point": fault.point,
            "action": fault.action,
            "attempt": self._plan.attempt,
            "process": os.getpid(),
            "time": time.time(),
        }
        self._plan.journal.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._plan.journal, flags, 0o600)
        try:
            os.write(descriptor, (json.dumps(line) + "\n").encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _take_effect(fault: Fault, step: int) -> None:
    match fault.action:
        case "raise":
            raise InjectedFaultError(
                f"the drill has {fault.target} fail in step {step}, point {fault.point}"
            )
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "delay":
            time.sleep(fault.seconds)
