"""Log lines of a run that the service has not acknowledged yet."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable

from sumgrad.trainer.server.channel.log_lines import log_lines
from sumgrad.trainer.v1 import run_pb2
from sumgrad.workers.logs.log_buffer import LogBuffer

MOST_WAITING = 10_000
"""Lines that come while the service does not answer are left out beyond these."""

MOST_AT_ONCE = 100
"""Lines of one call; with the longest messages, in four bytes a character, it has 3.2 MB."""

RUNNER = "runner"


class Outbox:
    """Lines in order and each under a number of its own, so that one sent twice is known.

    Attributes:
        own: what the runner itself logs and prints.
    """

    def __init__(self, attempt: int) -> None:
        self.own = LogBuffer()
        self._attempt = attempt
        # What the runner tells of other processes, under their names.
        self._told: dict[str, LogBuffer] = {}
        self._waiting: deque[run_pb2.LogLine] = deque()
        self._number = self._left_out = 0

    def tell(self, source: str, level: int, message: str, step: int | None = None) -> None:
        """Log something of another process."""
        self._told.setdefault(source, LogBuffer()).add(level, message, step)
        self._collect(source, self._told[source])

    def add(self, lines: Iterable[run_pb2.LogLine]) -> None:
        """Lines that other processes have handed over."""
        for line in lines:
            if len(self._waiting) >= MOST_WAITING:
                self._left_out += 1
                continue
            self._number += 1
            line.sequence, line.attempt = self._number, self._attempt
            self._waiting.append(line)

    def next(self) -> list[run_pb2.LogLine]:
        """The lines to send now; the same ones until they are acknowledged."""
        self._collect(RUNNER, self.own)
        return [self._waiting[i] for i in range(min(MOST_AT_ONCE, len(self._waiting)))]

    def acknowledged(self, lines: int) -> None:
        """The service has the first so many."""
        for _ in range(lines):
            self._waiting.popleft()
        if self._left_out:
            count, self._left_out = self._left_out, 0
            message = f"{count} lines were left out: the service did not answer for too long"
            self.tell(RUNNER, logging.WARNING, message)

    def __len__(self) -> int:
        return len(self._waiting)

    def _collect(self, source: str, buffer: LogBuffer) -> None:
        if lines := buffer.take():
            self.add(log_lines(source, lines))
