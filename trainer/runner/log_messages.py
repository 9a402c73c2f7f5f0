"""What the log says of the parameter server's reports: the run's story, without its figures."""

from __future__ import annotations

import logging
from typing import NamedTuple

from sumgrad.trainer.v1 import run_pb2, runner_pb2


class Told(NamedTuple):
    """A log line to be; ``level`` is Python's."""

    level: int
    message: str
    step: int | None = None


def tell(report: runner_pb2.RunReport) -> Told | None:
    """None for progress, epochs and times, which are figures and not events."""
    match report.WhichOneof("kind"):
        case "membership":
            return _member(report.membership)
        case "snapshot_taken":
            taken = report.snapshot_taken
            size = f"{taken.bytes} bytes in {taken.seconds:.3f} s"
            return Told(logging.INFO, f"snapshot taken: {size}", taken.step)
        case "resumed":
            step = report.resumed.step
            return Told(logging.INFO, f"goes on from the snapshot of step {step}", step)
        case "restarted":
            reason = f"the parameter server is started again: {report.restarted.reason}"
            return Told(logging.WARNING, reason)
        case "warning":
            return Told(logging.WARNING, report.warning.message)
        case "finished":
            return _finished(report.finished)
        case "failed":
            return Told(logging.ERROR, f"the run has failed: {report.failed.message}")
        case "cancelled":
            return Told(logging.INFO, "the run is cancelled")
        case "paused":
            paused = report.paused
            if paused.reason:
                return Told(logging.ERROR, f"the run is {paused.reason}")
            return Told(logging.INFO, "the run is paused", paused.step)
        case _:
            return None


def _member(member: run_pb2.Membership) -> Told:
    if member.joined:
        return Told(logging.INFO, f"{member.worker} joined", member.step)
    return Told(logging.WARNING, f"{member.worker} left: {member.reason}", member.step)


def _finished(result: run_pb2.Result) -> Told:
    bitwise = "" if result.bitwise else f"; not bitwise: {result.not_bitwise_because}"
    message = (
        f"the run has succeeded: {result.epochs} epochs, E_in {result.e_in:.6g}, "
        f"E_out {result.e_out:.6g}, weights {result.weights_digest}{bitwise}"
    )
    return Told(logging.INFO, message, result.steps)
