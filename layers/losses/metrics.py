"""Metrics: a figure that people expect beside a loss, from sums over the rows.

A loss measures rows as a few sums; sums of parts of the data add up to those of the whole, and
the figure follows from them alone. So it does not matter who measured which rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from sumgrad.layers.base.arrays import Array

Sums = Sequence[float]

CONSTANT = 2.0**-40
"""Share of Σy² below which Σ(y − ȳ)² counts as 0. It is a spread of a millionth of y, 16 units in
the last place of float32; rounding in float64 leaves less of targets that are all the same."""


class Metric(NamedTuple):
    """A figure and how it follows from the sums; it is None where they leave it undefined."""

    name: str
    value: Callable[[Sums], float | None]


def _accuracy(sums: Sums) -> float | None:
    counted, right = sums
    return right / counted


def _r2(sums: Sums) -> float | None:
    rows, residual, *moments = sums
    y, y2 = np.array(moments).reshape(2, -1)
    total = y2 - y * y / rows
    total = float(total[total > CONSTANT * y2].sum())
    return 1 - residual / total if total > 0 else None


def _rmse(sums: Sums) -> float | None:
    elements, residual = sums
    return math.sqrt(residual / elements)


ACCURACY = Metric("accuracy", _accuracy)
"""Share of right answers. Sums: answers, right ones."""

R2 = Metric("r2", _r2)
"""Coefficient of determination, R² = 1 − Σ(y − s)² / Σ(y − ȳ)², both sums over all elements of the
targets, ȳ each element's mean over the rows; None where no element varies. Sums: rows, Σ(y − s)²,
then Σy of each element, then Σy² of each."""

RMSE = Metric("rmse", _rmse)
"""Root mean squared error of an element. Sums: elements, Σ(y − s)²."""


def answers(right: Array) -> tuple[float, float]:
    """The sums of accuracy, from which answers are right."""
    return float(right.size), float(np.count_nonzero(right))


def squares(array: Array) -> float:
    """Σ a² in float64, whatever the array's type."""
    return float(np.square(array, dtype=np.float64).sum())
