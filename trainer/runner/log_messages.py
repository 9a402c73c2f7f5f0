"""What the run's log says of reports: the events of a run, without its figures."""

from __future__ import annotations

import logging
from typing import NamedTuple

from sumgrad.trainer.v1 import run_pb2, runner_pb2


class LogMessage(NamedTuple):
    """What a log line is made of; ``level`` is Python's."""

    level: int
    message: str
    step: int | None = None


def log_message(report: runner_pb2.RunReport) -> LogMessage | None:
    """The message of a report; None for progress, epochs and times, which are figures."""
    match report.WhichOneof("kind"):
        case "membership":
            return _member(report.membership)
        case "snapshot_taken":
            taken = report.snapshot_taken
            size = f"{taken.bytes} bytes in {taken.seconds:.3f} s"
            return LogMessage(logging.INFO, f"snapshot taken: {size}", taken.step)
        case "resumed":
            step = report.resumed.step
            return LogMessage(logging.INFO, f"goes on from the snapshot of step {step}", step)
        case "restarted":
            reason = f"the parameter server is started again: {report.restarted.reason}"
            return LogMessage(logging.WARNING, reason)
        case "warning":
            return LogMessage(logging.WARNING, report.warning.message)
        case "finished":
            return _finished(report.finished)
        case "failed":
            return LogMessage(logging.ERROR, f"the run has failed: {report.failed.message}")
        case "cancelled":
            return LogMessage(logging.INFO, "the run is cancelled")
        case "paused":
            paused = report.paused
            if paused.reason:
                return LogMessage(logging.ERROR, f"the run is {paused.reason}")
            return LogMessage(logging.INFO, "the run is paused", paused.step)
        case _:
            return None


def _member(member: run_pb2.Membership) -> LogMessage:
    if member.joined:
        return LogMessage(logging.INFO, f"{member.worker} joined", member.step)
    return LogMessage(logging.WARNING, f"{member.worker} left: {member.reason}", member.step)


def _finished(result: run_pb2.Result) -> LogMessage:
    bitwise = "" if result.bitwise else f"; not bitwise: {result.not_bitwise_because}"
    message = (
        f"the run has succeeded: {result.epochs} epochs, E_in {result.e_in:.6g}, "
        f"E_out {result.e_out:.6g}, weights {result.weights_digest}{bitwise}"
    )
    return LogMessage(logging.INFO, message, result.steps)
