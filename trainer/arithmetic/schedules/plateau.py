"""Reduction on a plateau: the learning rate falls when E_out has stopped falling.

As PyTorch's ReduceLROnPlateau in mode ``min`` with an absolute threshold and without cooldown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sumgrad.layers.base.hyperparameters import at_least, not_below, require, within
from sumgrad.trainer.arithmetic.schedules.schedule import Moment


@dataclass(frozen=True)
class Plateau:
    """A factor for every ``patience`` + 1 epochs in a row that did not bring E_out more than
    ``min_delta`` below its lowest. An E_out of NaN is no improvement."""

    patience: int
    factor: float = 0.1
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        require(self, patience=at_least(0), factor=within(0, 1), min_delta=not_below(0))

    def scale(self, moment: Moment) -> float:
        scale, lowest, waited = 1.0, math.inf, 0
        for e_out in moment.held_out:
            if e_out < lowest - self.min_delta:
                lowest, waited = e_out, 0
            else:
                waited += 1
            if waited > self.patience:
                scale, waited = scale * self.factor, 0
        return scale
