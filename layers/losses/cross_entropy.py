"""Cross-entropy of the softmax, L = −s_y + log Σ exp(s_i).

Formulas: docs/mathematics.md#7-losses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sumgrad.layers.base.arrays import Array, Shape
from sumgrad.layers.losses.class_scores import (
    check_class_scores,
    largest_class_score,
    measure_class_scores,
)
from sumgrad.layers.losses.loss import Loss, Targets
from sumgrad.layers.losses.metrics import ACCURACY, Metric


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Scores are one vector a row, one score a class; y holds class numbers."""

    metric: ClassVar[Metric] = ACCURACY

    def check(self, scores: Shape, targets: Targets) -> None:
        check_class_scores("cross_entropy", scores, targets)

    def forward(self, s: Array, y: Array) -> tuple[float, Array]:
        rows = np.arange(len(s))
        # The largest score becomes 0, so exp cannot overflow and the sum is at least 1.
        z = s - s.max(axis=1, keepdims=True)
        p = np.exp(z)
        total = p.sum(axis=1, keepdims=True)
        losses = np.log(total[:, 0]) - z[rows, y]
        p /= total
        p[rows, y] -= 1
        return float(losses.sum(dtype=np.float64)), p

    def measure(self, s: Array, y: Array) -> tuple[float, ...]:
        return measure_class_scores(s, y)

    def classes(self, s: Array) -> Array | None:
        return largest_class_score(s)
