"""The protocol of an update rule: two pure functions over the flat vector."""

from __future__ import annotations

from typing import Protocol

from sumgrad.layers.base.arrays import Array

State = dict[str, Array]


class UpdateRule(Protocol):
    """W ← W − step(∂Obj/∂W), element by element.

    A frozen dataclass of hyper-parameters. Because no element depends on another, the vector may
    be updated in blocks and in any order without a change of bits. Vectors are float32, and
    scalars are computed in double precision.
    """

    @property
    def learning_rate(self) -> float:
        """λ before a schedule scales it."""
        ...

    def init(self, size: int) -> State:
        """State vectors of this length, with their values before the first step."""
        ...

    def update(
        self, weights: Array, gradient: Array, state: State, learning_rate: float, step: int
    ) -> None:
        """Apply one step in place.

        Args:
            gradient: of the mini-batch's mean loss; its memory is used for intermediate results.
            learning_rate: λ of this step.
            step: number of this update, counted from 1.
        """
        ...
