"""Log lines of a run until the service acknowledges them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable

from sumgrad.trainer.server.channel.log_lines import log_lines
from sumgrad.trainer.v1 import run_pb2
from sumgrad.workers.logs.log_buffer import LogBuffer

MAX_WAITING_LINES = 10_000
"""Further lines are left out until the service answers."""

MAX_LINES_PER_CALL = 100
"""With the longest messages, in four bytes a character, these take 3.2 MB."""

RUNNER = "runner"


class Outbox:
    """Lines in order, numbered, so that the service recognises a line that is sent twice.

    Attributes:
        own: what the runner itself logs and prints.
    """

    def __init__(self, attempt: int) -> None:
        self.own = LogBuffer()
        self._attempt = attempt
        # What the runner logs of other processes, by their names.
        self._buffers: dict[str, LogBuffer] = {}
        self._waiting: deque[run_pb2.LogLine] = deque()
        self._number = self._left_out = 0

    def write(self, source: str, level: int, message: str, step: int | None = None) -> None:
        """Log a message about another process."""
        self._buffers.setdefault(source, LogBuffer()).add(level, message, step)
        self._collect(source, self._buffers[source])

    def add(self, lines: Iterable[run_pb2.LogLine]) -> None:
        """Put lines that other processes sent in line."""
        for line in lines:
            if len(self._waiting) >= MAX_WAITING_LINES:
                self._left_out += 1
                continue
            self._number += 1
            line.sequence, line.attempt = self._number, self._attempt
            self._waiting.append(line)

    def next(self) -> list[run_pb2.LogLine]:
        """The lines to send now; the same ones until they are acknowledged."""
        self._collect(RUNNER, self.own)
        return [self._waiting[i] for i in range(min(MAX_LINES_PER_CALL, len(self._waiting)))]

    def acknowledged(self, lines: int) -> None:
        """Forget the first lines: the service has them."""
        for _ in range(lines):
            self._waiting.popleft()
        if self._left_out:
            count, self._left_out = self._left_out, 0
            message = f"{count} lines were left out: the service did not answer for too long"
            self.write(RUNNER, logging.WARNING, message)

    def __len__(self) -> int:
        return len(self._waiting)

    def _collect(self, source: str, buffer: LogBuffer) -> None:
        if lines := buffer.take():
            self.add(log_lines(source, lines))
