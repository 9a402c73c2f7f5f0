"""Reconstruction: squared error against the input itself, L = Σ (x − s)².

Formulas: docs/mathematics.md#7-losses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from sumgrad.layers.base.arrays import Array, Shape
from sumgrad.layers.base.hyperparameters import ShapeError
from sumgrad.layers.losses.loss import Loss, Targets
from sumgrad.layers.losses.metrics import Metric, Sums, squares
from sumgrad.layers.losses.squared_error import SquaredError


def _rmse(sums: Sums) -> float | None:
    elements, residual = sums
    return math.sqrt(residual / elements)


RMSE = Metric("rmse", "RMSE", "Root mean squared error of an element", "", _rmse)
"""Sums: elements, Σ(y − s)²."""


@dataclass(frozen=True)
class Reconstruction(Loss):
    """y is x; scores of any shape with as many elements are compared with it in row-major order."""

    metric: ClassVar[Metric] = RMSE
    unsupervised: ClassVar[bool] = True

    def check(self, scores: Shape, targets: Targets) -> None:
        if math.prod(scores) != math.prod(targets.input):
            raise ShapeError(
                f"reconstruction needs as many scores as the input's {math.prod(targets.input)} "
                f"elements, of shape {targets.input}, but the last layer gives {scores}"
            )

    def forward(self, s: Array, y: Array) -> tuple[float, Array]:
        return SquaredError().forward(s, y.reshape(s.shape))

    def measure(self, s: Array, y: Array) -> tuple[float, ...]:
        return float(s.size), squares(s - y.reshape(s.shape))
