"""Step decay: every few epochs the learning rate is multiplied by a factor."""

from __future__ import annotations

from dataclasses import dataclass

from sumgrad.layers.base.hyperparameters import at_least, require, within
from sumgrad.trainer.arithmetic.schedules.schedule import Moment


@dataclass(frozen=True)
class Step:
    """``factor`` to the power ⌊epochs done / ``every_epochs``⌋."""

    every_epochs: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        require(self, every_epochs=at_least(1), factor=within(0, 1))

    def scale(self, moment: Moment) -> float:
        epochs_done = moment.step // moment.steps_per_epoch
        return self.factor ** (epochs_done // self.every_epochs)
