"""Support vector machine, the multi-class hinge: L = Σ_{i≠y} (s_i − s_y + 1)₊.

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
class SVM(Loss):
    """Scores are one vector a row, one score a class; y holds class numbers.

    Every wrong class whose score is less than 1 below the right class's adds to the loss; at a
    distance of exactly 1 the derivative is taken as 0. Source of the form: Weston and Watkins 1999,
    "Support vector machines for multi-class pattern recognition".
    """

    metric: ClassVar[Metric] = ACCURACY

    def check(self, scores: Shape, targets: Targets) -> None:
        check_class_scores("svm", scores, targets)

    def forward(self, s: Array, y: Array) -> tuple[float, Array]:
        rows = np.arange(len(s))
        hinge = s - s[rows, y][:, np.newaxis]
        hinge += 1
        hinge[rows, y] = 0
        np.maximum(hinge, 0, out=hinge)
        ds = (hinge > 0).astype(s.dtype)
        ds[rows, y] = -ds.sum(axis=1)
        return float(hinge.sum(dtype=np.float64)), ds

    def measure(self, s: Array, y: Array) -> tuple[float, ...]:
        return measure_class_scores(s, y)

    def classes(self, s: Array) -> Array | None:
        return largest_class_score(s)
