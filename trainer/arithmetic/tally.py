"""Sums of losses and metrics over an epoch, which early stopping and schedules go by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import add

from sumgrad.layers import Metric


@dataclass
class Tally:
    """Sums so far.

    Attributes:
        loss: summed loss of the rows.
        metric_sums: the sums that the loss's metric follows from.
    """

    loss: float = 0.0
    rows: int = 0
    metric_sums: list[float] = field(default_factory=list)

    def add(self, loss: float, rows: int, metric_sums: list[float]) -> None:
        self.loss += loss
        self.rows += rows
        if self.metric_sums:
            metric_sums = list(map(add, self.metric_sums, metric_sums))
        self.metric_sums = metric_sums

    @property
    def mean(self) -> float:
        """The mean loss of a row; NaN where every step was skipped."""
        return self.loss / self.rows if self.rows else math.nan

    def figures(self, metric: Metric) -> dict[str, float]:
        """The metric's value by its name, or nothing where it has none."""
        value = metric.value(self.metric_sums) if self.metric_sums else None
        return {} if value is None else {metric.name: value}


def exact_sum(values: Sequence[float]) -> float:
    """The exact sum, whatever the order of the values; NaN where there is none."""
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):  # the sum is infinite, or Inf − Inf
        return math.nan
