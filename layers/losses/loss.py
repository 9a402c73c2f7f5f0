"""What every loss is: the sum over a batch, its feedback, and the targets it can read."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from layers.arrays import Array, Shape


class Targets(NamedTuple):
    """What a data set offers as y: class numbers below ``classes``, or vectors of ``shape``."""

    classes: int | None
    shape: Shape | None


class Loss(Protocol):
    """L(s, y), summed over the rows of a batch (SPEC section 7)."""

    def check(self, scores: Shape, targets: Targets) -> None:
        """Raise ShapeError unless scores of this shape can be held against these targets."""
        ...

    def forward(self, s: Array, y: Array) -> tuple[float, Array]:
        """The summed loss, accumulated in float64, and δS per row, undivided."""
        ...

    def correct(self, s: Array, y: Array) -> int | None:
        """How many rows are predicted right, or None where that has no meaning."""
        ...
