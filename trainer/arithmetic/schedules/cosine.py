"""Cosine annealing: half a cosine wave from the base learning rate down over the whole run.

Source: Loshchilov and Hutter 2017, equation 5 without restarts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sumgrad.layers.base.hyperparameters import require, within
from sumgrad.trainer.arithmetic.schedules.schedule import Moment


@dataclass(frozen=True)
class Cosine:
    """``floor`` is the share of the base learning rate that the wave falls towards."""

    floor: float = 0.0

    def __post_init__(self) -> None:
        require(self, floor=within(0, 1))

    def scale(self, moment: Moment) -> float:
        wave = (1 + math.cos(math.pi * moment.step / moment.steps)) / 2
        return self.floor + (1 - self.floor) * wave
