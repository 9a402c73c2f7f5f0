"""Squared error, L = Σ (y − s)². Formulas: docs/mathematics.md#7-losses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sumgrad.layers.base.arrays import Array, Shape
from sumgrad.layers.base.hyperparameters import ShapeError
from sumgrad.layers.losses.loss import Loss, Targets
from sumgrad.layers.losses.metrics import Metric, Sums, squares

CONSTANT = 2.0**-40
"""Share of Σy² below which Σ(y − ȳ)² counts as 0. It is a spread of a millionth of y, 16 units in
the last place of float32; rounding in float64 leaves less of targets that are all the same."""


def _r2(sums: Sums) -> float | None:
    rows, residual, *moments = sums
    y, y2 = np.array(moments).reshape(2, -1)
    total = y2 - y * y / rows
    total = float(total[total > CONSTANT * y2].sum())
    return 1 - residual / total if total > 0 else None


R2 = Metric("r2", "R²", "Share of the targets' variance explained", "ratio", _r2)
"""Coefficient of determination, R² = 1 − Σ(y − s)² / Σ(y − ȳ)², both sums over all elements of the
targets, ȳ each element's mean over the rows; None where no element varies. Sums: rows, Σ(y − s)²,
then Σy of each element, then Σy² of each."""


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
