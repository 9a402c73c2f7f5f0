"""Nesterov's momentum: V ← μ V + g, W ← W − λ (g + μ V).

Source: Nesterov 1983, in the form of Sutskever et al. 2013, as PyTorch has it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sumgrad.layers.base.arrays import Array
from sumgrad.layers.base.hyperparameters import above, require, within
from sumgrad.trainer.arithmetic.update_rules.update_rule import State


@dataclass(frozen=True)
class Nesterov:
    """μ is ``momentum``, λ is ``learning_rate``."""

    learning_rate: float
    momentum: float = 0.9

    def __post_init__(self) -> None:
        require(self, learning_rate=above(0), momentum=within(0, 1))

    def init(self, size: int) -> State:
        return {"velocity": np.zeros(size, np.float32)}

    def update(
        self, weights: Array, gradient: Array, state: State, learning_rate: float, step: int
    ) -> None:
        velocity = state["velocity"]
        velocity *= self.momentum
        velocity += gradient
        gradient *= learning_rate
        weights -= gradient
        np.multiply(velocity, learning_rate * self.momentum, out=gradient)
        weights -= gradient
