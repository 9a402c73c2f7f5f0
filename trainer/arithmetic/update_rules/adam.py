"""Adam: m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², W ← W − λ m̂ / (√v̂ + ε).

m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ) correct for the start at 0; t counts steps from 1.

Source: Kingma and Ba 2015, algorithm 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sumgrad.layers.base.arrays import Array
from sumgrad.layers.base.hyperparameters import MIN_NORMAL, above, require, within
from sumgrad.trainer.arithmetic.update_rules.update_rule import State


@dataclass(frozen=True)
class Adam:
    """λ is ``learning_rate``, ε is ``epsilon``.

    The state is m / (1 − β₁) and v / (1 − β₂): without these factors, which go into λ and ε, the
    gradient's memory is enough for what lies between.
    """

    learning_rate: float
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        require(
            self,
            learning_rate=above(0),
            beta1=within(0, 1),
            beta2=within(0, 1),
            epsilon=above(MIN_NORMAL),
        )

    def init(self, size: int) -> State:
        return {"gradients": np.zeros(size, np.float32), "squares": np.zeros(size, np.float32)}

    def update(
        self, weights: Array, gradient: Array, state: State, learning_rate: float, step: int
    ) -> None:
        gradients, squares = state["gradients"], state["squares"]
        mean = (1 - self.beta1) / (1 - self.beta1**step)
        root = math.sqrt((1 - self.beta2) / (1 - self.beta2**step))
        gradients *= self.beta1
        gradients += gradient
        squares *= self.beta2
        np.square(gradient, out=gradient)
        squares += gradient
        np.sqrt(squares, out=gradient)
        gradient += self.epsilon / root
        np.divide(gradients, gradient, out=gradient)
        gradient *= learning_rate * mean / root
        weights -= gradient
