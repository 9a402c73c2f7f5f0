"""Logistic loss of y ∈ {0, 1}: L = −log(φ(s)^y (1 − φ(s))^(1−y)), φ the sigmoid.

Formulas: docs/mathematics.md#7-losses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sumgrad.layers.base.arrays import Array, Shape
from sumgrad.layers.losses.loss import Loss, Targets
from sumgrad.layers.losses.metrics import ACCURACY, Metric, answers
from sumgrad.layers.losses.two_classes import check_scores, class_of_sign, refuse, sigmoid_and_tail


@dataclass(frozen=True)
class Logistic(Loss):
    """φ(s) is the probability of y = 1, for each element by itself.

    y holds the numbers of two classes, with one score a row; or floats of the scores' shape,
    which may lie anywhere in [0, 1]. The answer is 1 where s > 0, and right where y > 1/2 alike.
    """

    metric: ClassVar[Metric] = ACCURACY

    def check(self, scores: Shape, targets: Targets) -> None:
        check_scores("logistic", scores, targets)

    def check_values(self, y: Array) -> None:
        refuse("logistic", "values from 0 to 1", y, (y >= 0) & (y <= 1))

    def forward(self, s: Array, y: Array) -> tuple[float, Array]:
        y = y.reshape(s.shape).astype(s.dtype, copy=False)
        p, losses = sigmoid_and_tail(s)
        losses += np.maximum(s, 0) - s * y
        p -= y
        return float(losses.sum(dtype=np.float64)), p

    def measure(self, s: Array, y: Array) -> tuple[float, ...]:
        return answers((s > 0) == (y.reshape(s.shape) > 0.5))

    def classes(self, s: Array) -> Array | None:
        return class_of_sign(s)
