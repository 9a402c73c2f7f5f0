"""A run is the sum of its events: what each event makes of it."""

from __future__ import annotations

from sumgrad.trainer.record.states import ACTIVE, ENDED, ended
from sumgrad.trainer.v1 import run_pb2

MAX_WARNINGS = 100
"""The newest that a run shows. All are in its events."""

MAX_COUNT = 2**64 - 1
"""Of a field: whatever a runner reports, adding it up does not fail."""


def fruitless(run: run_pb2.Run) -> int:
    """Attempts in a row, up to the present one, that did not get further than any before."""
    return 0 if run.progress.step > run.furthest_step else run.fruitless_attempts + 1


def apply(run: run_pb2.Run, event: run_pb2.Event) -> bool:
    """Let an event happen to a run, in place.

    Returns:
        False if it cannot happen any more, because the run has ended; the run is unchanged.
    """
    if ended(run):
        return False
    match event.WhichOneof("kind"):
        case "state_change":
            _change_state(run, event)
        case "progress":
            run.progress.CopyFrom(event.progress)
        case "warning":
            run.warnings.append(event.warning.message)
            del run.warnings[:-MAX_WARNINGS]
        case "scaled":
            run.workers = event.scaled.workers
        case "snapshot_taken":
            run.snapshot_step = event.snapshot_taken.step
        case "restarted":
            run.restarts += 1
        case "preempted":
            run.preempted_by = event.preempted.by
        case "stop_requested":
            run.stop_requested = max(run.stop_requested, event.stop_requested.stop)
        case "dispatch":
            _add(run.dispatch, event.dispatch)
    return True


def _add(total: run_pb2.DispatchCounts, more: run_pb2.DispatchCounts) -> None:
    for field, count in more.ListFields():
        setattr(total, field.name, min(getattr(total, field.name) + count, MAX_COUNT))


def _change_state(run: run_pb2.Run, event: run_pb2.Event) -> None:
    change = event.state_change
    run.state, run.message = change.state, change.message
    run.workers = run.workers or run.spec.workers.count  # a run stored before it could be scaled
    if change.state == run_pb2.RUN_STATE_LAUNCHING:
        run.fruitless_attempts = fruitless(run) if run.attempt else 0
        run.attempt += 1
        run.furthest_step = max(run.furthest_step, run.progress.step)
        run.ClearField("progress")
    elif change.state == run_pb2.RUN_STATE_RUNNING:
        run.started.CopyFrom(event.time)
    elif change.state == run_pb2.RUN_STATE_PAUSED or (
        change.state == run_pb2.RUN_STATE_QUEUED and run.preempted_by
    ):
        run.fruitless_attempts = 0  # it was asked to stop
    elif change.state in ENDED:
        run.ended.CopyFrom(event.time)
    if change.state not in ACTIVE:
        run.ClearField("preempted_by")
        run.ClearField("stop_requested")
    if change.HasField("result"):
        run.result.CopyFrom(change.result)
