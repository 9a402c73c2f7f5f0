"""When a run's snapshots are taken, and what is said of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trainer.server.training_state import TrainingState
from trainer.snapshots.snapshot import Snapshot, SnapshotError
from trainer.snapshots.store import SnapshotStore
from trainer.snapshots.writer import Outcome, Writer
from trainer.v1 import run_pb2, runner_pb2
from workers.faults import Drill
from workers.roots import ANYWHERE, Roots

CLOSE_SECONDS = 30.0
"""A save in progress has this long to end when the run stops."""

More = Callable[[], dict[str, Any]]
"""What a snapshot holds beside the state; asked for only when one is taken."""


@dataclass(frozen=True)
class SnapshotPlan:
    """Where and how often.

    Attributes:
        location: a path, or an address that fsspec knows; of this run alone.
        spec: digest of what decides the run's result; a snapshot of another is not used.
        keep: how many are kept.
        roots: where the location may lead, if it is a path.
        every_steps, every_seconds: one is taken when so many steps are done, or so much time has
            passed, since the last.
    """

    location: str
    spec: str
    keep: int = 2
    every_steps: int | None = None
    every_seconds: float = 60.0
    roots: Roots = ANYWHERE


class SnapshotKeeper:
    """The snapshots of one attempt.

    Args:
        report: where reports go.

    Raises:
        SnapshotError: there are no snapshots at such places.
    """

    def __init__(
        self,
        plan: SnapshotPlan,
        drill: Drill,
        clock: Callable[[], float],
        report: Callable[[runner_pb2.RunReport], None],
    ) -> None:
        self._plan = plan
        self._clock = clock
        self._report = report
        self._store = SnapshotStore(
            plan.location, plan.keep, lambda step: drill.at("snapshot", step), plan.roots
        )
        self._writer = Writer(self._store)
        self._begun_step, self._begun = 0, clock()
        self._failures = 0

    def restore(self, state: TrainingState) -> dict[str, Any] | None:
        """Go on from the newest snapshot of the same specification, if there is one.

        Returns:
            What ``take`` was given beside the state, as plain data.

        Raises:
            SnapshotError: nobody knows what is there, or it does not fit.
        """
        snapshot, problems = self._store.latest()
        for problem in problems:
            self._warn(problem)
        if snapshot is None or snapshot.document.get("spec") != self._plan.spec:
            return None
        state.restore(snapshot)
        self._begun_step = snapshot.step
        self._report(runner_pb2.RunReport(resumed=run_pb2.Resumed(step=snapshot.step)))
        more: dict[str, Any] = snapshot.document["more"]
        return more

    def take(self, state: TrainingState, more: More) -> None:
        """Begin a snapshot if one is due and none is being written; tell what became of others."""
        self._tell()
        if self._is_due(state.step):
            document = self._document(state, more)
            if self._writer.offer(state.step, state.arrays(), document):
                self._begun_step, self._begun = state.step, self._clock()

    def take_last(self, state: TrainingState, more: More) -> None:
        """Have a snapshot of this very step when this returns, and take no more.

        Raises:
            SnapshotError: there is none.
        """
        if not self._writer.close(CLOSE_SECONDS):
            raise SnapshotError(
                f"The snapshot of step {self._begun_step} has not been saved in "
                f"{CLOSE_SECONDS:.0f} s: make sure that {self._plan.location} can be reached."
            )
        self._tell()
        started, arrays = time.perf_counter(), state.arrays()
        self._store.save(Snapshot(state.step, arrays, self._document(state, more)))
        size = sum(array.nbytes for array in arrays.values())
        self._told(Outcome(state.step, None, time.perf_counter() - started, size))

    def close(self) -> None:
        """Wait for the save in progress, within bounds."""
        self._writer.close(CLOSE_SECONDS)

    def _is_due(self, step: int) -> bool:
        every = self._plan.every_steps
        return (
            every is not None and step - self._begun_step >= every
        ) or self._clock() - self._begun >= self._plan.every_seconds

    def _document(self, state: TrainingState, more: More) -> dict[str, Any]:
        return {"spec": self._plan.spec, **state.document(), "more": more()}

    def _tell(self) -> None:
        while (outcome := self._writer.finished()) is not None:
            self._told(outcome)

    def _told(self, outcome: Outcome) -> None:
        if outcome.error is None:
            self._failures = 0
            taken = run_pb2.SnapshotTaken(
                step=outcome.step, seconds=outcome.seconds, bytes=outcome.size
            )
            self._report(runner_pb2.RunReport(snapshot_taken=taken))
            return
        self._failures += 1
        # The first, the second, the fourth, the eighth, ...
        if self._failures & (self._failures - 1) == 0:
            self._warn(
                f"there is no fresh snapshot (failures in a row: {self._failures}): {outcome.error}"
            )

    def _warn(self, message: str) -> None:
        self._report(runner_pb2.RunReport(warning=run_pb2.Warning(message=message)))
