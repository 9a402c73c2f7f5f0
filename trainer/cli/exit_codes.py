"""What the command's exit code says; documented in docs/command-line.md."""

from __future__ import annotations

from enum import IntEnum

from sumgrad.trainer.v1 import run_pb2


class ExitCode(IntEnum):
    OK = 0
    RUN_FAILED = 1
    CHECK_FAILED = 1
    BAD_INPUT = 2
    NO_SERVICE = 3
    RUN_CANCELLED = 4
    OTHER_BITS = 5
    INTERNAL_ERROR = 70
    INTERRUPTED = 130


def of_run(run: run_pb2.Run) -> ExitCode:
    """The exit code of a command that has followed a run to its end."""
    match run.state:
        case run_pb2.RUN_STATE_SUCCEEDED:
            return ExitCode.OK
        case run_pb2.RUN_STATE_CANCELLED:
            return ExitCode.RUN_CANCELLED
    return ExitCode.RUN_FAILED
