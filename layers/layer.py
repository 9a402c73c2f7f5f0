"""What every layer is: hyper-parameters, shapes, initial parameters, forward and backward."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]
Params = dict[str, Array]


class Shapes(NamedTuple):
    """What a layer makes of an input shape, without any array being built."""

    params: dict[str, Shape]
    output: Shape


class Backward(Protocol):
    """The second half of a layer's forward pass; it holds what the first half saw."""

    def __call__(self, dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
        """Send the feedback signal back through the layer.

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

    def init(self, rng: np.random.Generator, params: Params) -> None:
        """Fill ``params``, arrays of the shapes that ``shapes`` gives, with initial values."""
        ...

    def forward(self, params: Params, x: Array) -> tuple[Array, Backward]:
        """Y for a batch X (rows are samples), and the function that goes back."""
        ...
