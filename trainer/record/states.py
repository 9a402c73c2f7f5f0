"""Sets of a run's states, by what may still happen to it."""

from __future__ import annotations

from sumgrad.trainer.v1 import run_pb2

ENDED = frozenset(
    {run_pb2.RUN_STATE_SUCCEEDED, run_pb2.RUN_STATE_FAILED, run_pb2.RUN_STATE_CANCELLED}
)


WAITING = frozenset({run_pb2.RUN_STATE_QUEUED, run_pb2.RUN_STATE_PAUSED})


RESTING = ENDED | {run_pb2.RUN_STATE_PAUSED}


ACTIVE = frozenset({run_pb2.RUN_STATE_LAUNCHING, run_pb2.RUN_STATE_RUNNING})


OPEN = frozenset(run_pb2.RunState.values()) - ENDED


def ended(run: run_pb2.Run) -> bool:
    """Whether nothing more will happen to the run."""
    return run.state in ENDED
