"""What a process logs and prints, kept until it is sent to the run's log."""

from __future__ import annotations

import logging
import time
from collections import deque

from sumgrad.workers.logs.captured_output import CapturedOutput
from sumgrad.workers.v1 import work_pb2

MAX_MESSAGE_LENGTH = 8_000
"""Characters; a longer message loses its middle, because a traceback's end says most."""

MAX_LINES_A_SECOND = 100
MAX_WAITING_LINES = 1_000
"""Lines beyond these are left out and counted."""

SEND_SECONDS = 0.5
"""Lines are to be sent this often, if there are any."""

OURS = "sumgrad"
"""The logger of which everything from INFO on is kept; of others, warnings and errors."""


class LogBuffer(logging.Handler):
    """A bounded number of lines; a logging handler that is safe to use from any thread.

    What it costs is one comparison a step where nothing is logged.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._lines: deque[work_pb2.LogLine] = deque()
        self._printed: list[tuple[int, CapturedOutput]] = []
        self._second = self._in_second = self._left_out = 0
        self._due = 0.0

    def capture(self) -> None:
        """Collect from now on what this process logs, and what it prints to a file."""
        logging.getLogger().addHandler(self)
        logging.getLogger(OURS).setLevel(logging.INFO)
        err, out = CapturedOutput(2), CapturedOutput(1)
        self._printed.append((logging.WARNING, err))
        if out.file == err.file:  # a job's driver has one file for both
            out.close()
        else:
            self._printed.append((logging.INFO, out))

    def emit(self, record: logging.LogRecord) -> None:
        self.add(record.levelno, self.format(record), getattr(record, "step", None))

    def add(self, level: int, message: str, step: int | None = None) -> None:
        """Keep a line, or count it where there are too many."""
        now = time.time_ns()
        with self.lock:  # type: ignore[union-attr]
            if now // 10**9 != self._second:
                self._second, self._in_second = now // 10**9, 0
            if self._in_second >= MAX_LINES_A_SECOND or len(self._lines) >= MAX_WAITING_LINES:
                self._left_out += 1
                return
            self._in_second += 1
            self._append(now, level, message, step)

    def due(self) -> bool:
        """Whether SEND_SECONDS have passed since the last time that this was true."""
        now = time.monotonic()
        if now < self._due:
            return False
        self._due = now + SEND_SECONDS
        return True

    def take(self) -> list[work_pb2.LogLine]:
        """Remove and return the lines since the last time."""
        for level, printed in self._printed:
            lines, left_out = printed.read()
            for line in lines:
                self.add(level, line)
            self._left_out += left_out
        with self.lock:  # type: ignore[union-attr]
            if self._left_out:
                message = (
                    f"{self._left_out} lines were left out here: a process may log "
                    f"{MAX_LINES_A_SECOND} a second"
                )
                self._left_out = 0
                self._append(time.time_ns(), logging.WARNING, message, None)
            taken = list(self._lines)
            self._lines.clear()
        return taken

    def _append(self, now: int, level: int, message: str, step: int | None) -> None:
        line = work_pb2.LogLine(
            nanoseconds=now, level=max(0, level), message=_valid(shortened(message)), step=step
        )
        self._lines.append(line)


def shortened(message: str) -> str:
    """The message, without its middle if it is longer than MAX_MESSAGE_LENGTH."""
    over = len(message) - MAX_MESSAGE_LENGTH
    if over <= 0:
        return message
    head = MAX_MESSAGE_LENGTH // 4
    return f"{message[:head]} […{over} characters…] {message[head + over :]}"


def _valid(text: str) -> str:
    """Without lone surrogates, which no message can carry."""
    return text.encode(errors="replace").decode()
