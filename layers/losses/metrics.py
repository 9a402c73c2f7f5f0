"""Metrics: a figure that people expect beside a loss, from sums over the rows.

A loss measures rows as a few sums. Sums of parts of the data add up to those of the whole, and the
metric follows from the totals alone, so it does not matter which worker measured which rows. A
metric that only one loss has stands beside that loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from sumgrad.layers.base.arrays import Array

Sums = Sequence[float]


class Metric(NamedTuple):
    """A figure, what it is called, and how it follows from the sums.

    Attributes:
        name: its field in the messages, and its key in documents.
        label: what people call it.
        meaning: what it says, as a phrase.
        unit: ``ratio`` where it is one, for the names of series; empty otherwise.
        value: the figure; None where the sums leave it undefined.
    """

    name: str
    label: str
    meaning: str
    unit: str
    value: Callable[[Sums], float | None]


def _accuracy(sums: Sums) -> float | None:
    counted, right = sums
    return right / counted


ACCURACY = Metric("accuracy", "accuracy", "Share of right answers", "ratio", _accuracy)
"""Sums: answers, right ones."""


def answers(right: Array) -> tuple[float, float]:
    """The sums of accuracy, from which answers are right."""
    return float(right.size), float(np.count_nonzero(right))


def squares(array: Array) -> float:
    """Σ a² in float64, whatever the array's type."""
    return float(np.square(array, dtype=np.float64).sum())
