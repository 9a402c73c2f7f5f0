"""Squared error, L = Σ (y − s)² (SPEC section 7)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from layers.arrays import Array, Shape
from layers.hyperparameters import ShapeError
from layers.losses.loss import Targets


@dataclass(frozen=True)
class SquaredError:
    """Scores and targets are arrays of one shape."""

    def check(self, scores: Shape, targets: Targets) -> None:
        if targets.shape is None:
            raise ShapeError("squared_error needs vectors as targets, the data has class numbers")
        if scores != targets.shape:
            raise ShapeError(
                f"squared_error needs scores of the targets' shape {targets.shape}, "
                f"but the last layer gives {scores}"
            )

    def forward(self, s: Array, y: Array) -> tuple[float, Array]:
        error = s - y
        loss = float(np.square(error).sum(dtype=np.float64))
        error *= 2
        return loss, error

    def correct(self, s: Array, y: Array) -> int | None:
        return None
