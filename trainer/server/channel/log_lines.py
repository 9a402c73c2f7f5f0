"""From the log lines that a process has kept to those of the run's log."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp

from sumgrad.trainer.v1 import run_pb2
from sumgrad.workers.v1 import work_pb2

_LEVELS = (
    (40, run_pb2.LOG_LEVEL_ERROR),
    (30, run_pb2.LOG_LEVEL_WARNING),
    (20, run_pb2.LOG_LEVEL_INFO),
)


def log_lines(source: str, lines: Iterable[work_pb2.LogLine]) -> list[run_pb2.LogLine]:
    """Lines of the run's log.

    Args:
        source: the process that has logged them.
    """
    found = []
    for line in lines:
        time = Timestamp()
        time.FromNanoseconds(line.nanoseconds)
        converted = run_pb2.LogLine(
            time=time, source=source, level=_level(line.level), message=line.message
        )
        if line.HasField("step"):
            converted.step = line.step
        found.append(converted)
    return found


def _level(number: int) -> run_pb2.LogLevel:
    reached = (level for least, level in _LEVELS if number >= least)
    return next(reached, run_pb2.LOG_LEVEL_DEBUG)
