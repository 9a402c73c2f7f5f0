"""What happens to a run, as events of its record."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from sumgrad.trainer.v1 import run_pb2, runner_pb2

STOPS = {
    run_pb2.STOP_PAUSE: "it is asked to pause",
    run_pb2.STOP_CANCEL: "it is asked to stop for good",
}
"""What the log of a run says when its stop is requested."""


def now() -> Timestamp:
    """This moment."""
    now = Timestamp()
    now.GetCurrentTime()
    return now


def new_event(**kind: object) -> run_pb2.Event:
    """Something that happens to a run now."""
    return run_pb2.Event(time=now(), **kind)  # type: ignore[arg-type]


def state_event(state: run_pb2.RunState, message: str = "") -> run_pb2.Event:
    """A run is in another state from now on."""
    return new_event(state_change=run_pb2.StateChange(state=state, message=message))


def from_report(report: runner_pb2.RunReport) -> run_pb2.Event:
    """The event that a runner's report stands for."""
    match report.WhichOneof("kind"):
        case "finished":
            change = run_pb2.StateChange(state=run_pb2.RUN_STATE_SUCCEEDED, result=report.finished)
            return new_event(state_change=change)
        case "failed":
            return state_event(run_pb2.RUN_STATE_FAILED, report.failed.message)
        case "cancelled":
            return state_event(run_pb2.RUN_STATE_CANCELLED, "cancelled")
        case "paused":
            paused = report.paused
            message = paused.reason or f"paused at step {paused.step}"
            return state_event(run_pb2.RUN_STATE_PAUSED, message)
        case "progress":
            return new_event(progress=report.progress)
        case "epoch":
            return new_event(epoch=report.epoch)
        case "membership":
            return new_event(membership=report.membership)
        case "snapshot_taken":
            return new_event(snapshot_taken=report.snapshot_taken)
        case "resumed":
            return new_event(resumed=report.resumed)
        case "restarted":
            return new_event(restarted=report.restarted)
        case "dispatch":
            return new_event(dispatch=report.dispatch)
        case _:
            return new_event(warning=report.warning)
