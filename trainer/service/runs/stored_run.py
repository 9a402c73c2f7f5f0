"""A run as the run store has it."""

from __future__ import annotations

from typing import NamedTuple

from sumgrad.trainer.service.api.run_filter import Cursor
from sumgrad.trainer.v1 import run_pb2


class StoredRun(NamedTuple):
    """A run, with what only the service needs to know of it.

    Attributes:
        number: ascends in the order of storing.
        service: the name of the service that looks after the run.
        sequence: the number of its last event.
        reported: the number of the attempt's last report that was stored.
        token: what the attempt's runner must show; empty where no runner may report.
    """

    number: int
    run: run_pb2.Run
    service: str
    sequence: int
    reported: int
    token: str

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.run.created.ToMicroseconds(), self.number)
