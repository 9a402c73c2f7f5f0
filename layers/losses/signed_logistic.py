"""Logistic loss of y ∈ {−1, 1}: L = −log φ(y s), φ the sigmoid.

Formulas: docs/mathematics.md#7-losses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sumgrad.layers.base.arrays import Array, Shape
from sumgrad.layers.losses.loss import Loss, Targets
from sumgrad.layers.losses.metrics import ACCURACY, Metric, answers
from sumgrad.layers.losses.two_classes import (
    are_class_numbers,
    check_scores,
    class_of_sign,
    refuse,
    sigmoid_and_tail,
)


@dataclass(frozen=True)
class SignedLogistic(Loss):
    """φ(s) is the probability of y = 1, for each element by itself.

    y holds the numbers of two classes, with one score a row, where class 0 is y = −1; or floats
    of the scores' shape, −1 or 1. The answer is 1 where s > 0.
    """

    metric: ClassVar[Metric] = ACCURACY

    def check(self, scores: Shape, targets: Targets) -> None:
        check_scores("signed_logistic", scores, targets)

    def check_values(self, y: Array) -> None:
        if not are_class_numbers(y):
            refuse("signed_logistic", "−1 and 1", y, (y == -1) | (y == 1))

    def forward(self, s: Array, y: Array) -> tuple[float, Array]:
        minus_y = -_signs(s, y)
        x = minus_y * s
        p, losses = sigmoid_and_tail(x)
        losses += np.maximum(x, 0)
        p *= minus_y
        return float(losses.sum(dtype=np.float64)), p

    def measure(self, s: Array, y: Array) -> tuple[float, ...]:
        return answers((s > 0) == (_signs(s, y) > 0))

    def classes(self, s: Array) -> Array | None:
        return class_of_sign(s)


def _signs(s: Array, y: Array) -> Array:
    """y ∈ {−1, 1}, also where it is given as class numbers, in the scores' shape and type."""
    signs = 2 * y - 1 if are_class_numbers(y) else y
    return signs.reshape(s.shape).astype(s.dtype, copy=False)
