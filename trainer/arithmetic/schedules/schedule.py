"""What every schedule is: one pure function of how far the run is."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Moment(NamedTuple):
    """How far a run is when a step begins.

    Attributes:
        step: steps done, so the first step has 0.
        steps: of the whole run.
        steps_per_epoch: of a whole epoch.
        held_out: E_out after each epoch that is through.
    """

    step: int
    steps: int
    steps_per_epoch: int
    held_out: tuple[float, ...]


class Schedule(Protocol):
    """How the learning rate changes in the course of a run.

    A frozen dataclass of hyper-parameters. It keeps no state: all that it goes by is in the
    moment, so a run that is resumed needs nothing of it.
    """

    def scale(self, moment: Moment) -> float:
        """What the base learning rate is multiplied by in this step, from 0 to 1."""
        ...
