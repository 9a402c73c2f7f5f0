"""When a run's snapshots are taken, and what is reported of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sumgrad.trainer.server.training_state import TrainingState
from sumgrad.trainer.snapshots.background_writer import BackgroundWriter, Outcome
from sumgrad.trainer.snapshots.snapshot import NotDeletedError, Snapshot
from sumgrad.trainer.snapshots.snapshot_store import SnapshotStore
from sumgrad.trainer.v1 import run_pb2, runner_pb2
from sumgrad.workers.drills.drill import Drill
from sumgrad.workers.host.allowed_paths import ANYWHERE, AllowedPaths

CLOSE_SECONDS = 30.0
"""A save in progress has this long to end when the run stops."""

PATIENCE_SECONDS = 30.0
"""Training waits this long for the snapshot of a pause, and goes on while it is still written."""

AGAIN_SECONDS = 10.0
"""Between two attempts at what has failed."""

More = Callable[[], dict[str, Any]]
"""What a snapshot holds beside the state; asked for only when one is taken."""

Attend = Callable[[Callable[[], bool], float], bool]
"""Waits for a condition, for some seconds at most; returns whether it holds."""


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
    roots: AllowedPaths = ANYWHERE


class SnapshotKeeper:
    """The snapshots of one attempt.

    Args:
        report: where reports go.
        attend: what waits while a snapshot is written.

    Attributes:
        saved: step of the newest snapshot that is known to be there.

    Raises:
        SnapshotError: there are no snapshots at such places.
    """

    def __init__(
        self,
        plan: SnapshotPlan,
        drill: Drill,
        clock: Callable[[], float],
        report: Callable[[runner_pb2.RunReport], None],
        attend: Attend,
    ) -> None:
        self.saved: int | None = None
        self._plan = plan
        self._clock = clock
        self._report = report
        self._attend = attend
        self._store = SnapshotStore(
            plan.location, plan.keep, lambda step: drill.at("snapshot", step), plan.roots
        )
        self._writer = BackgroundWriter(self._store)
        self._begun_step, self._begun = 0, clock()
        self._failures = 0
        # Of a pause: the step from which on a snapshot will do, and when to try again.
        self._wanted: int | None = None
        self._again = clock()

    def latest(self) -> tuple[Snapshot | None, list[str]]:
        """See SnapshotStore.latest; it may take long."""
        return self._store.latest()

    def restore(
        self, state: TrainingState, snapshot: Snapshot | None, problems: Sequence[str]
    ) -> dict[str, Any] | None:
        """Go on from what ``latest`` has found, if it is of the same specification.

        Returns:
            What ``take`` was given beside the state, as plain data.

        Raises:
            SnapshotError: it does not fit.
        """
        for problem in problems:
            self._warn(problem)
        if snapshot is None or snapshot.document.get("spec") != self._plan.spec:
            return None
        state.restore(snapshot)
        self.saved = self._begun_step = snapshot.step
        self._report(runner_pb2.RunReport(resumed=run_pb2.Resumed(step=snapshot.step)))
        more: dict[str, Any] = snapshot.document["more"]
        return more

    def take(self, state: TrainingState, more: More) -> None:
        """Begin a snapshot if one is due and none is being written; report finished ones."""
        self._report_saves()
        if self._is_due(state.step) and not self._may_pause():
            self._begin(state, more)

    def take_to_pause(self, state: TrainingState, more: More) -> int | None:
        """Take a snapshot that the run can stop at; its step, or None if there is none yet.

        Call it after each step until there is one. It is of the present step, unless the first
        try fails or takes too long: training goes on then, and what is done in vain is done again.
        """
        if self._wanted is None:
            self._wanted, self._failures = state.step, 0
            self._wait_for_save()
        self._report_saves()
        if not self._may_pause() and self._writer.idle() and self._clock() >= self._again:
            self._begin(state, more)
            self._wait_for_save()
            self._report_saves()
            self._again = self._clock() + AGAIN_SECONDS
        return self.saved if self._may_pause() else None

    def last(self) -> int:
        """Step of the newest snapshot, after the save in progress; 0 if there is none."""
        self.close()
        self._report_saves()
        return self.saved or 0

    def close(self) -> None:
        """Wait for the save in progress, within bounds."""
        self._writer.close(CLOSE_SECONDS)

    def _may_pause(self) -> bool:
        """Whether the snapshot that a pause needs is there."""
        return self.saved is not None and self._wanted is not None and self.saved >= self._wanted

    def _begin(self, state: TrainingState, more: More) -> None:
        """Begin a snapshot unless one is being written."""
        if self._writer.offer(state.step, state.arrays(), self._document(state, more)):
            self._begun_step, self._begun = state.step, self._clock()

    def _wait_for_save(self) -> None:
        if not self._attend(self._writer.idle, PATIENCE_SECONDS):
            self._warn(
                f"the snapshot of step {self._begun_step} has not been saved in "
                f"{PATIENCE_SECONDS:.0f} s in {self._store.place}; the run goes on until it is, "
                "and is paused then"
            )

    def _is_due(self, step: int) -> bool:
        every = self._plan.every_steps
        return (
            every is not None and step - self._begun_step >= every
        ) or self._clock() - self._begun >= self._plan.every_seconds

    def _document(self, state: TrainingState, more: More) -> dict[str, Any]:
        return {"spec": self._plan.spec, **state.document(), "more": more()}

    def _report_saves(self) -> None:
        while (outcome := self._writer.finished()) is not None:
            self._report_save(outcome)

    def _report_save(self, outcome: Outcome) -> None:
        if outcome.error is None or isinstance(outcome.error, NotDeletedError):
            self.saved = outcome.step
            taken = run_pb2.SnapshotTaken(
                step=outcome.step, seconds=outcome.seconds, bytes=outcome.size
            )
            self._report(runner_pb2.RunReport(snapshot_taken=taken))
        if outcome.error is None:
            self._failures = 0
            return
        self._failures += 1
        # The first, the second, the fourth, the eighth, ...
        if self._failures & (self._failures - 1) == 0:
            self._warn(
                f"{self._consequence(outcome.error)} (failures in a row: {self._failures}): "
                f"{outcome.error}"
            )

    def _consequence(self, error: Exception) -> str:
        """What a failure means for the run."""
        if isinstance(error, NotDeletedError):
            return "old snapshots take up room"
        if self._wanted is not None:
            return f"the run cannot be paused yet, and tries again every {AGAIN_SECONDS:.0f} s"
        return "there is no fresh snapshot"

    def _warn(self, message: str) -> None:
        self._report(runner_pb2.RunReport(warning=run_pb2.Warning(message=message)))
