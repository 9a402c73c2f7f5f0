"""Gradient descent, W ← W − λ g with g = ∂Obj/∂W.

Formulas: docs/mathematics.md#4-batches-and-updates.
"""

from __future__ import annotations

from dataclasses import dataclass

from sumgrad.layers.base.arrays import Array
from sumgrad.layers.base.hyperparameters import above, require
from sumgrad.trainer.arithmetic.update_rules.update_rule import State


@dataclass(frozen=True)
class SGD:
    """λ is ``learning_rate``."""

    learning_rate: float

    def __post_init__(self) -> None:
        require(self, learning_rate=above(0))

    def init(self, size: int) -> State:
        return {}

    def update(
        self, weights: Array, gradient: Array, state: State, learning_rate: float, step: int
    ) -> None:
        gradient *= learning_rate
        weights -= gradient
