"""What a runner needs of its upstream: a service, or the command that started it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sumgrad.trainer.runner.upstream.outbox import Outbox
from sumgrad.trainer.v1 import runner_pb2


class ServiceGoneError(RuntimeError):
    """The service cannot be reached, or has started another attempt."""


class WeightsNotTakenError(RuntimeError):
    """The service does not store the weights; the message says why."""


class Upstream(Protocol):
    """Gives assignment and requests; takes reports, log lines and weights.

    Attributes:
        log: the run's log lines, which go with the reports.
    """

    log: Outbox

    @property
    def attempt(self) -> int: ...

    def take(self) -> runner_pb2.TakeRunResponse: ...

    def add(self, report: runner_pb2.RunReport) -> None: ...

    def send(self) -> None: ...

    def requests(self) -> runner_pb2.ReportResponse | None: ...

    def flush(self) -> None: ...

    def put_weights(self, path: Path) -> str: ...
