"""ReLU, Y = max(0, X) (SPEC section 5)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from layers.arrays import Array, Params, Shape
from layers.context import EVALUATION, Context
from layers.layer import Backward, Operations, Shapes


@dataclass(frozen=True)
class ReLU:
    """Negative elements become 0; the derivative at 0 is taken as 0. No parameters."""

    def shapes(self, input_shape: Shape) -> Shapes:
        return Shapes({}, input_shape)

    def operations(self, input_shape: Shape) -> Operations:
        return Operations(math.prod(input_shape), math.prod(input_shape))

    def init(self, rng: np.random.Generator, params: Params) -> None:
        pass

    def forward(
        self, params: Params, x: Array, context: Context = EVALUATION
    ) -> tuple[Array, Backward]:
        y = np.maximum(x, 0, out=context.empty("y", x.shape, x.dtype))

        def backward(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            return masked(dy, y, context) if input_gradient else None

        return y, backward


def masked(dy: Array, y: Array, context: Context) -> Array:
    """δY ⊙ (Y > 0)."""
    positive = np.greater(y, 0, out=context.empty("positive", y.shape, np.bool_))
    return np.multiply(dy, positive, out=context.empty("masked", dy.shape, dy.dtype))
