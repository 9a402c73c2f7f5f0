"""The protocol of a loss: its sum over a batch, its feedback, its metric, its targets."""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Protocol

from sumgrad.layers.base.arrays import Array, Shape
from sumgrad.layers.losses.metrics import Metric


class Targets(NamedTuple):
    """The targets y of a data set: class numbers below ``classes``, or vectors of ``shape``.

    ``input`` is a sample's shape, for a loss that takes the sample itself as y.
    """

    classes: int | None
    shape: Shape | None
    input: Shape


class TargetError(ValueError):
    """A target has a value that means nothing to the loss; the message names it."""


class Loss(Protocol):
    """L(s, y), summed over the rows of a batch. Formulas: docs/mathematics.md#7-losses.

    Attributes:
        metric: the figure that follows from the sums of ``measure``.
        unsupervised: y is the network's input, not the data set's targets
            (docs/mathematics.md#1-learning).
    """

    metric: ClassVar[Metric]
    unsupervised: ClassVar[bool] = False

    def check(self, scores: Shape, targets: Targets) -> None:
        """Raise ShapeError unless scores of this shape fit these targets."""
        ...

    def check_values(self, y: Array) -> None:
        """Raise TargetError unless every value of y is legal; called once, on loading."""
        return

    def forward(self, s: Array, y: Array) -> tuple[float, Array]:
        """The summed loss, accumulated in float64, and δS per row, undivided."""
        ...

    def measure(self, s: Array, y: Array) -> tuple[float, ...]:
        """The metric's sums over the rows."""
        ...

    def classes(self, s: Array) -> Array | None:
        """The class that each row's scores stand for, as integers; None where there are none."""
        return None
