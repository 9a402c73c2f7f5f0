"""Adagrad: G ← G + g², W ← W − λ g / (√G + ε).

Source: Duchi, Hazan and Singer 2011, the diagonal form; ε outside the root as PyTorch has it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sumgrad.layers.base.arrays import Array
from sumgrad.layers.base.hyperparameters import MIN_NORMAL, above, require
from sumgrad.trainer.arithmetic.update_rules.update_rule import State


@dataclass(frozen=True)
class Adagrad:
    """λ is ``learning_rate``, ε is ``epsilon``."""

    learning_rate: float
    epsilon: float = 1e-10

    def __post_init__(self) -> None:
        require(self, learning_rate=above(0), epsilon=above(MIN_NORMAL))

    def init(self, size: int) -> State:
        return {"sum_of_squares": np.zeros(size, np.float32)}

    def update(
        self, weights: Array, gradient: Array, state: State, learning_rate: float, step: int
    ) -> None:
        total = state["sum_of_squares"]
        scratch = np.square(gradient)
        total += scratch
        np.sqrt(total, out=scratch)
        scratch += self.epsilon
        gradient /= scratch
        gradient *= learning_rate
        weights -= gradient
