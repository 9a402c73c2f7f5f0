"""What the workers have answered: of one round, and summed over an epoch's rounds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from layers.arrays import Array
from workers.tree import Node


@dataclass
class RoundAnswers:
    """Answers of one round so far.

    Attributes:
        nodes, sums, holders: summed gradients: which tree node, its vector, and the worker in
            whose memory it lies; one entry each.
        losses: summed loss by unit (shard or chunk).
        rows: rows that the units had.
        correct: rows predicted right, or None where the loss has no such thing.
        compute_seconds: of the slowest worker.
    """

    nodes: list[Node] = field(default_factory=list)
    sums: list[Array] = field(default_factory=list)
    holders: list[str] = field(default_factory=list)
    losses: dict[int, float] = field(default_factory=dict)
    rows: int = 0
    correct: int | None = None
    compute_seconds: float = 0.0

    @property
    def loss(self) -> float:
        """The exact sum, whatever order the answers came in; NaN where there is none."""
        try:
            return math.fsum(self.losses.values())
        except (OverflowError, ValueError):  # the sum is infinite, or Inf − Inf
            return math.nan


@dataclass
class Tally:
    """Sums over the steps of an epoch."""

    loss: float = 0.0
    rows: int = 0
    correct: int | None = None

    def add(self, answers: RoundAnswers) -> None:
        self.loss += answers.loss
        self.rows += answers.rows
        if answers.correct is not None:
            self.correct = (self.correct or 0) + answers.correct

    @property
    def mean(self) -> float:
        return self.loss / self.rows

    @property
    def accuracy(self) -> float | None:
        return None if self.correct is None else self.correct / self.rows
