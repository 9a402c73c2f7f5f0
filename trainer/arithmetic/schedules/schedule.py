"""The protocol of a schedule: one pure function of how far the run is."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Moment(NamedTuple):
    """The progress of a run when a step begins.

    Attributes:
        step: steps done, so the first step has 0.
        steps: of the whole run.
        steps_per_epoch: of a whole epoch.
        held_out: E_out after each finished epoch.
    """

    step: int
    steps: int
    steps_per_epoch: int
    held_out: tuple[float, ...]


class Schedule(Protocol):
    """The course of the learning rate in a run.

    A frozen dataclass of hyper-parameters. It keeps no state: everything that it depends on is in
    the moment, so there is nothing to restore in a resumed run.
    """

    def scale(self, moment: Moment) -> float:
        """The factor of the base learning rate in this step, from 0 to 1."""
        ...
