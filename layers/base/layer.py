"""The protocol of a layer: hyper-parameters, shapes, initial parameters, forward and backward."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from sumgrad.layers.base.arrays import Array, Params, Shape
from sumgrad.layers.base.context import EVALUATION, Context


class Shapes(NamedTuple):
    """A layer's parameter and output shapes for an input shape, computed without any array."""

    params: dict[str, Shape]
    output: Shape


class Operations(NamedTuple):
    """Floating-point operations on one sample; a multiplication with its addition is two.

    Backward includes δX. Comparisons and transcendental functions count as one each.
    """

    forward: int
    backward: int


class Backward(Protocol):
    """The way back through a layer; it holds what forward saw."""

    def __call__(self, dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
        """Send the feedback back through the layer.

        Args:
            dy: δY, the feedback of the summed loss, of the output's shape; left unchanged.
            grads: where the batch-summed parameter gradients are written, by parameter name.
            input_gradient: False skips δX, for a layer with no parameters in front of it.

        Returns:
            δX, of the input's shape, or None if it was not asked for.
        """
        ...


class Layer(Protocol):
    """A block of the network: a frozen dataclass of hyper-parameters with pure functions.

    Shapes leave the batch axis out; arrays have it in front. Nothing is cached on a layer.
    """

    def shapes(self, input_shape: Shape) -> Shapes:
        """Parameter and output shapes for an input shape.

        Raises:
            ShapeError: the input does not fit.
        """
        ...

    def operations(self, input_shape: Shape) -> Operations:
        """The work on one sample, for an input shape that fits."""
        ...

    def init(self, rng: np.random.Generator, params: Params) -> None:
        """Fill ``params``, arrays of the shapes that ``shapes`` gives, with initial values."""
        ...

    def forward(
        self, params: Params, x: Array, context: Context = EVALUATION
    ) -> tuple[Array, Backward]:
        """Compute Y for a batch X (rows are samples), and the function that goes back.

        With a context that has a workspace, Y and δX are valid until the context's next pass.
        """
        ...
