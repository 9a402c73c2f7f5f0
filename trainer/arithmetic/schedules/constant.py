"""The base learning rate throughout."""

from __future__ import annotations

from dataclasses import dataclass

from sumgrad.trainer.arithmetic.schedules.schedule import Moment


@dataclass(frozen=True)
class Constant:
    """No hyper-parameters."""

    def scale(self, moment: Moment) -> float:
        return 1.0
