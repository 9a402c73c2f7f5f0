"""Runs that are interrupted, and go on from a snapshot."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from pathlib import Path

from sumgrad.layers import Affine, AffineReLU, Dropout, Flatten
from sumgrad.trainer.arithmetic.early_stopping import EarlyStopping
from sumgrad.trainer.arithmetic.schedules import Cosine, Plateau
from sumgrad.trainer.arithmetic.update_rules import Adam, Descent
from sumgrad.trainer.server.saving.snapshot_keeper import SnapshotPlan
from sumgrad.trainer.server.training_plan import TrainingPlan
from sumgrad.trainer.v1 import runner_pb2
from sumgrad.workers.drills.drill import Fault, FaultPlan, InjectedFaultError, Point

from support.training import (
    OVERSHOOTING,
    PLAN,
    running,
)

EVERY = 4
"""Steps between snapshots: a divisor of the twelve steps of an epoch."""


PLANS = {
    "momentum": dataclasses.replace(PLAN, steps=27),
    "adam": dataclasses.replace(
        PLAN,
        job=dataclasses.replace(
            PLAN.job, layers=(Flatten(), AffineReLU(24), Dropout(0.3), Affine(10))
        ),
        steps=27,
        descent=Descent(Adam(0.01), weight_decay=1e-3, clip_norm=0.5),
        schedule=Cosine(0.1),
        warmup_steps=6,
    ),
    "plateau": dataclasses.replace(
        PLAN,
        steps=None,
        epochs=10,
        descent=OVERSHOOTING,
        schedule=Plateau(0, 0.5, min_delta=0.02),
        early_stopping=EarlyStopping(2, min_delta=0.005),
    ),
}


def in_folder(plan: TrainingPlan, folder: Path, every_steps: int | None = EVERY) -> TrainingPlan:
    """The plan with its files in a folder, snapshots among them."""
    snapshots = SnapshotPlan(str(folder / "snapshots"), "a digest", every_steps=every_steps)
    return dataclasses.replace(plan, weights_path=folder / "w.safetensors", snapshots=snapshots)


def run_to_end(plan: TrainingPlan, workers: int) -> list[runner_pb2.RunReport]:
    """All reports of a run on workers in threads."""
    names = [f"w{i}" for i in range(workers)]
    with running(plan, *names) as run:
        for name in names:
            run.start(name)
        reports = run.reports()
        for worker in run.workers:
            worker.end()
    assert reports[-1].WhichOneof("kind") == "finished", reports[-1]
    return reports


def resumed_at(reports: list[runner_pb2.RunReport]) -> list[int]:
    return [r.resumed.step for r in reports if r.WhichOneof("kind") == "resumed"]


def warnings(reports: list[runner_pb2.RunReport]) -> list[str]:
    return [r.warning.message for r in reports if r.WhichOneof("kind") == "warning"]


def interrupt(plan: TrainingPlan, step: int, workers: int, point: Point = "gathered") -> None:
    """Have the server break off in a step."""
    fault = Fault("server", step, point, "raise")
    broken = dataclasses.replace(
        plan, faults=FaultPlan((fault,), 1, plan.weights_path.parent / f"{step}.jsonl")
    )
    with suppress(InjectedFaultError), running(broken, *(f"w{i}" for i in range(workers))) as run:
        for i in range(workers):
            run.start(f"w{i}")
        for worker in run.workers:
            worker.end()
    assert broken.faults.journal.exists(), "the fault did not fire"
