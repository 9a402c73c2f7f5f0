"""What a runner needs of whoever wants its run: a service, or the command that started it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sumgrad.trainer.runner.upstream.outbox import Outbox
from sumgrad.trainer.v1 import runner_pb2


class ServiceGoneError(RuntimeError):
    """The service cannot be reached, or does not want this runner any more."""


class WeightsNotTakenError(RuntimeError):
    """The service does not store the weights; the message says why."""


class Link(Protocol):
    """Assignment and wishes come down, reports, log lines and weights go up.

    Attributes:
        log: the run's log lines, which go with the reports.
    """

    log: Outbox

    @property
    def attempt(self) -> int: ...

    def take(self) -> runner_pb2.TakeRunResponse: ...

    def add(self, report: runner_pb2.RunReport) -> None: ...

    def send(self) -> None: ...

    def wishes(self) -> runner_pb2.ReportResponse | None: ...

    def flush(self) -> None: ...

    def put_weights(self, path: Path) -> str: ...
