"""Sigmoid, Y = φ(X) = 1 / (1 + e⁻ˣ). Formulas: docs/mathematics.md#5-vector-layers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sumgrad.layers.base.arrays import Array, Params, Shape
from sumgrad.layers.base.context import EVALUATION, Context
from sumgrad.layers.base.layer import Backward, Operations, Shapes
from sumgrad.layers.base.logistic_function import logistic


@dataclass(frozen=True)
class Sigmoid:
    """Every element into (0, 1); the derivative is Y (1 − Y). No parameters."""

    def shapes(self, input_shape: Shape) -> Shapes:
        return Shapes({}, input_shape)

    def operations(self, input_shape: Shape) -> Operations:
        return Operations(4 * math.prod(input_shape), 3 * math.prod(input_shape))

    def init(self, rng: np.random.Generator, params: Params) -> None:
        pass

    def forward(
        self, params: Params, x: Array, context: Context = EVALUATION
    ) -> tuple[Array, Backward]:
        y = logistic(x, out=context.empty("y", x.shape, x.dtype))

        def backward(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            if not input_gradient:
                return None
            dx = np.subtract(1, y, out=context.empty("dx", y.shape, y.dtype))
            dx *= y
            dx *= dy
            return dx

        return y, backward
