"""Adam with decoupled weight decay: W ← (1 − λ d) W, then Adam's step.

Source: Loshchilov and Hutter 2019, algorithm 2; d is scaled by λ as PyTorch has it.
"""

from __future__ import annotations

from dataclasses import dataclass

from sumgrad.layers.base.arrays import Array
from sumgrad.layers.base.hyperparameters import MIN_NORMAL, above, not_below, require, within
from sumgrad.trainer.arithmetic.update_rules.adam import Adam
from sumgrad.trainer.arithmetic.update_rules.update_rule import State


@dataclass(frozen=True)
class AdamW(Adam):
    """λ is ``learning_rate``, d is ``weight_decay``, ε is ``epsilon``."""

    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        require(
            self,
            learning_rate=above(0),
            beta1=within(0, 1),
            beta2=within(0, 1),
            epsilon=above(MIN_NORMAL),
            weight_decay=not_below(0),
        )

    def update(
        self, weights: Array, gradient: Array, state: State, learning_rate: float, step: int
    ) -> None:
        weights *= 1 - learning_rate * self.weight_decay
        super().update(weights, gradient, state, learning_rate, step)
