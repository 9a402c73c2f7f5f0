"""Squared error, L = Σ (y − s)². Formulas: docs/mathematics.md#7-losses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sumgrad.layers.base.arrays import Array, Shape
from sumgrad.layers.base.hyperparameters import ShapeError
from sumgrad.layers.losses.loss import Loss, Targets
from sumgrad.layers.losses.metrics import R2, Metric, squares


@dataclass(frozen=True)
class SquaredError(Loss):
    """Scores and targets are arrays of one shape."""

    metric: ClassVar[Metric] = R2

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

    def measure(self, s: Array, y: Array) -> tuple[float, ...]:
        elements = y.reshape(len(y), math.prod(y.shape[1:])).astype(np.float64)
        moments = elements.sum(axis=0), np.square(elements).sum(axis=0)
        return (float(len(y)), squares(s - y), *moments[0].tolist(), *moments[1].tolist())
