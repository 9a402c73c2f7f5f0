"""ReLU, Y = max(0, X). Formulas: docs/mathematics.md#5-vector-layers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sumgrad.layers.base.arrays import Array, Params, Shape
from sumgrad.layers.base.context import EVALUATION, Context
from sumgrad.layers.base.layer import Backward, Operations, Shapes


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
        y = rectified(x, context.empty_like("y", x))

        def backward(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            if not input_gradient:
                return None
            return masked(dy, y, context, out=context.empty_like("dx", y, dtype=dy.dtype))

        return y, backward


def rectified(x: Array, out: Array) -> Array:
    """max(0, X); ``out`` may be x."""
    # A third of the time that it takes against the number 0
    # (docs/decisions/layers.md#npmaximum-against-an-array-of-zeros).
    zeros = np.zeros(x.shape[max(1, x.ndim - 2) :], x.dtype)
    return np.maximum(x, zeros, out=out)


def masked(dy: Array, y: Array, context: Context, out: Array) -> Array:
    """δY ⊙ (Y > 0)."""
    positive = context.empty_like("positive", y, dtype=np.bool_)
    return np.multiply(dy, np.greater(y, 0, out=positive), out=out)
