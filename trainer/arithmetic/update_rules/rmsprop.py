"""RMSProp: v ← ρ v + (1 − ρ) g², W ← W − λ g / (√v + ε).

Source: Hinton, lecture 6e of "Neural Networks for Machine Learning", 2012; ε outside the root as
PyTorch has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sumgrad.layers.base.arrays import Array
from sumgrad.layers.base.hyperparameters import MIN_NORMAL, above, require, within
from sumgrad.trainer.arithmetic.update_rules.update_rule import State


@dataclass(frozen=True)
class RMSProp:
    """λ is ``learning_rate``, ρ is ``decay``, ε is ``epsilon``.

    The state is v / (1 − ρ): without that factor, which goes into λ and ε, a pass is saved.
    """

    learning_rate: float
    decay: float = 0.99
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        require(
            self,
            learning_rate=above(0),
            decay=within(0, 1),
            epsilon=above(MIN_NORMAL),
        )

    def init(self, size: int) -> State:
        return {"squares": np.zeros(size, np.float32)}

    def update(
        self, weights: Array, gradient: Array, state: State, learning_rate: float, step: int
    ) -> None:
        squares = state["squares"]
        scale = math.sqrt(1 - self.decay)
        scratch = np.square(gradient)
        squares *= self.decay
        squares += scratch
        np.sqrt(squares, out=scratch)
        scratch += self.epsilon / scale
        gradient /= scratch
        gradient *= learning_rate / scale
        weights -= gradient
