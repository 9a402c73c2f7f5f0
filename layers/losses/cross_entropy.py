"""Cross-entropy of the softmax, L = −s_y + log Σ exp(s_i) (SPEC section 7)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from layers.arrays import Array, Shape
from layers.hyperparameters import ShapeError
from layers.losses.loss import Targets


@dataclass(frozen=True)
class CrossEntropy:
    """Scores are one vector a row, one score a class; y holds class numbers."""

    def check(self, scores: Shape, targets: Targets) -> None:
        if targets.classes is None:
            raise ShapeError("cross_entropy needs class numbers as targets, the data has vectors")
        if scores != (targets.classes,):
            raise ShapeError(
                f"cross_entropy needs scores of shape ({targets.classes},), one a class of the "
                f"data, but the last layer gives {scores}"
            )

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

    def correct(self, s: Array, y: Array) -> int | None:
        return int(np.count_nonzero(s.argmax(axis=1) == y))
