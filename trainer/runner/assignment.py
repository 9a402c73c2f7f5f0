"""What a runner is to do: the run's specification, its folder, and the plan of its training."""

from __future__ import annotations

from dataclasses import dataclass

from sumgrad.trainer.record.receipt import spec_digest
from sumgrad.trainer.runner.run_folder import RunFolder
from sumgrad.trainer.server.saving.snapshot_keeper import SnapshotPlan
from sumgrad.trainer.server.training_plan import TrainingPlan
from sumgrad.trainer.snapshots.location import snapshots_of
from sumgrad.trainer.spec.allowed_locations import SpecRoots
from sumgrad.trainer.spec.messages import spec_of
from sumgrad.trainer.spec.run_spec import RunSpec
from sumgrad.trainer.v1 import runner_pb2
from sumgrad.workers.drills.drill import FaultPlan
from sumgrad.workers.host.allowed_paths import ANYWHERE


@dataclass(frozen=True)
class Assignment:
    """One attempt at one run.

    Attributes:
        attempt: its number, counted from 1.
        spec: within the roots that the service's operator has named.
        workers: how many it starts with.
        worker_cpus: CPUs that each of them reserves.
    """

    attempt: int
    spec: RunSpec
    folder: RunFolder
    workers: int
    worker_cpus: float

    @classmethod
    def of(cls, taken: runner_pb2.TakeRunResponse, attempt: int) -> Assignment:
        spec = spec_of(taken.spec)
        if taken.HasField("roots"):
            spec = spec.within(SpecRoots.of(taken.roots.data, taken.roots.snapshots))
        return cls(attempt, spec, RunFolder.of(taken), taken.workers, taken.worker_cpus)

    @property
    def spec_digest(self) -> str:
        return spec_digest(self.spec.document())

    @property
    def faults(self) -> FaultPlan:
        """The faults that the run's drill has planned."""
        return FaultPlan(tuple(self.spec.faults), self.attempt, self.folder.journal)

    def snapshots(self) -> SnapshotPlan:
        """Where and how often snapshots are taken."""
        chosen = self.spec.snapshots
        return SnapshotPlan(
            location=snapshots_of(self.folder.path, chosen.location),
            spec=self.spec_digest,
            keep=chosen.keep,
            every_steps=chosen.every_steps,
            every_seconds=chosen.every_seconds,
            # The run's own folder is the service's; no user has named it.
            roots=self.spec.roots.snapshots if chosen.location else ANYWHERE,
        )

    def training_plan(self, workers: int) -> TrainingPlan:
        """What a parameter server that starts with so many workers needs."""
        spec, train = self.spec, self.spec.train
        return TrainingPlan(
            job=spec.job(),
            descent=spec.descent,
            epochs=train.epochs,
            steps=train.steps,
            workers=workers,
            weights_path=self.folder.weights,
            metadata={"name": spec.name},
            spec_digest=self.spec_digest,
            start_from=spec.model.start_from,
            start_roots=spec.roots.checkpoints,
            stop_after=train.stop_after,
            schedule=train.schedule,
            warmup_steps=train.warmup_steps,
            early_stopping=train.early_stopping,
            non_finite=train.non_finite,
            fingerprint=spec.workers.fingerprint,
            faults=self.faults,
            snapshots=self.snapshots(),
        )
