"""What one attempt at a run is to do."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sumgrad.trainer.arithmetic.early_stopping import EarlyStopping
from sumgrad.trainer.arithmetic.schedules import Constant, Schedule
from sumgrad.trainer.arithmetic.update_rules import Descent
from sumgrad.trainer.server.rounds.membership import FingerprintPolicy
from sumgrad.trainer.server.saving.snapshot_keeper import SnapshotPlan
from sumgrad.workers.drills.drill import NO_FAULTS, FaultPlan
from sumgrad.workers.host.allowed_paths import ANYWHERE, AllowedPaths
from sumgrad.workers.job import Job


@dataclass(frozen=True)
class Length:
    """How long a run trains.

    Attributes:
        steps: of the whole plan, over which the schedule goes.
        last_step: the run ends after this one, or before by early stopping.
        steps_per_epoch: the last epoch may have fewer.
    """

    steps: int
    last_step: int
    steps_per_epoch: int

    @property
    def epochs(self) -> int:
        return self.epoch_of(self.last_step)

    def epoch_of(self, steps: int) -> int:
        """The epoch, counted from 1, that the last of so many steps is in."""
        return math.ceil(steps / self.steps_per_epoch)

    def ends_epoch(self, steps: int) -> bool:
        """Whether an epoch is over after so many steps."""
        return steps % self.steps_per_epoch == 0 or steps == self.last_step


@dataclass(frozen=True)
class TrainingPlan:
    """What the server does with a job.

    Attributes:
        descent: from a step's averaged gradient to the next weights.
        epochs, steps: exactly one is given; how long to train.
        stop_after: the run ends after this step of that length; None does all of it.
        workers: how many will join.
        weights_path: where the final weights go.
        metadata: goes into the weights file.
        spec_digest: of what decides the result, for the receipt.
        start_from: checkpoint whose weights training starts from; None draws them.
        start_roots: where its path may lead.
        schedule, warmup_steps: what scales the learning rate.
        early_stopping: the run ends with the weights of its best epoch, and then maybe before
            its length; None keeps the last weights.
        non_finite: what becomes of a step whose loss or gradient is not finite.
        fingerprint: what becomes of a worker that computes with other bits.
        faults: what goes wrong on purpose.
        snapshots: from what an interrupted run goes on; None keeps nothing.
    """

    job: Job
    descent: Descent
    epochs: int | None
    steps: int | None
    workers: int
    weights_path: Path
    metadata: dict[str, str]
    spec_digest: str = ""
    start_from: str | None = None
    start_roots: AllowedPaths = ANYWHERE
    stop_after: int | None = None
    schedule: Schedule = field(default_factory=Constant)
    warmup_steps: int = 0
    early_stopping: EarlyStopping | None = None
    non_finite: Literal["fail", "skip"] = "fail"
    fingerprint: FingerprintPolicy = "strict"
    faults: FaultPlan = NO_FAULTS
    snapshots: SnapshotPlan | None = None

    def length(self, steps_per_epoch: int) -> Length:
        steps = self.steps or (self.epochs or 0) * steps_per_epoch
        return Length(steps, min(steps, self.stop_after or steps), steps_per_epoch)
