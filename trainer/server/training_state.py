"""What a training run carries from one step to the next, and how a snapshot holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from sumgrad.layers.base.arrays import Array
from sumgrad.trainer.arithmetic.tally import Tally
from sumgrad.trainer.arithmetic.update_rules import State
from sumgrad.trainer.snapshots.snapshot import Snapshot, SnapshotError

_RULE = "rule."
"""Prefix of the names of the update rule's vectors in a snapshot."""


@dataclass(frozen=True)
class Best:
    """The best epoch so far: its number, its figures and a copy of its weights."""

    epoch: int
    held_out: Tally
    weights: Array


@dataclass
class TrainingState:
    """Everything that, between two steps, decides the rest of the run beside its specification.

    Attributes:
        weights: the flat vector.
        rule: the update rule's vectors.
        step: steps done, whether applied or skipped.
        held_out: E_out after each finished epoch.
        epoch: sums over the steps of the present epoch.
        best: of a run with early stopping.
        samples: training rows read.
        training_seconds: without evaluations and starts.
        skipped_steps: those that were not finite.
    """

    weights: Array
    rule: State
    step: int = 0
    held_out: tuple[float, ...] = ()
    epoch: Tally = field(default_factory=Tally)
    best: Best | None = None
    samples: int = 0
    training_seconds: float = 0.0
    skipped_steps: int = 0

    def arrays(self) -> dict[str, Array]:
        """The vectors, not copied."""
        best = {} if self.best is None else {"best": self.best.weights}
        return {
            "weights": self.weights,
            **{_RULE + name: vector for name, vector in self.rule.items()},
            **best,
        }

    def document(self) -> dict[str, Any]:
        """Everything but the vectors, as plain data."""
        best = self.best
        return {
            "held_out": list(self.held_out),
            "epoch": asdict(self.epoch),
            "best": None if best is None else {"epoch": best.epoch, **asdict(best.held_out)},
            "samples": self.samples,
            "training_seconds": self.training_seconds,
            "skipped_steps": self.skipped_steps,
        }

    def restore(self, snapshot: Snapshot) -> None:
        """Become the state of the run at the snapshot.

        Raises:
            SnapshotError: it is of another network or update rule; nothing has changed then.
        """
        arrays, document = snapshot.arrays, snapshot.document
        ours = self.arrays()
        if document["best"] is not None:
            ours["best"] = np.empty_like(self.weights)
        if _shapes(arrays) != _shapes(ours):
            raise SnapshotError(
                f"The snapshot of step {snapshot.step} has the arrays {_shapes(arrays)} and the "
                f"run has {_shapes(ours)}: were the data changed? Submit the run anew."
            )
        for name, array in ours.items():
            array[...] = arrays[name]
        self.step = snapshot.step
        self.held_out = tuple(document["held_out"])
        self.epoch = Tally(**document["epoch"])
        self.best = None
        if document["best"] is not None:
            figures = dict(document["best"])
            self.best = Best(figures.pop("epoch"), Tally(**figures), ours["best"])
        self.samples = document["samples"]
        self.training_seconds = document["training_seconds"]
        self.skipped_steps = document["skipped_steps"]


def _shapes(arrays: Mapping[str, Array]) -> dict[str, tuple[int, ...]]:
    return {name: arrays[name].shape for name in sorted(arrays)}
