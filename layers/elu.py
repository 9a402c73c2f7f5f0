"""ELU, Y = X where X > 0, α (eˣ − 1) elsewhere. Formulas: docs/mathematics.md#5-vector-layers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sumgrad.layers.base.arrays import Array, Params, Shape
from sumgrad.layers.base.context import EVALUATION, Context
from sumgrad.layers.base.hyperparameters import above, require
from sumgrad.layers.base.layer import Backward, Operations, Shapes


@dataclass(frozen=True)
class ELU:
    """Exponential linear unit: negative elements saturate at −α. No parameters.

    The derivative is 1 for x > 0 and Y + α elsewhere.
    Source: Clevert, Unterthiner, Hochreiter 2016, "Fast and accurate deep network learning by
    exponential linear units".
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        require(self, alpha=above(0))

    def shapes(self, input_shape: Shape) -> Shapes:
        return Shapes({}, input_shape)

    def operations(self, input_shape: Shape) -> Operations:
        return Operations(4 * math.prod(input_shape), 3 * math.prod(input_shape))

    def init(self, rng: np.random.Generator, params: Params) -> None:
        pass

    def forward(
        self, params: Params, x: Array, context: Context = EVALUATION
    ) -> tuple[Array, Backward]:
        y = np.minimum(x, 0, out=context.empty("y", x.shape, x.dtype))
        scratch = context.empty("scratch", x.shape, x.dtype)
        # eˣ − 1 = 2t / (1 − t) with t = tanh(x/2): as exact near 0 as expm1, at a fraction of
        # its time in float32.
        y *= 0.5
        np.tanh(y, out=y)
        np.subtract(1, y, out=scratch)
        y /= scratch
        y *= 2 * self.alpha
        y += np.maximum(x, 0, out=scratch)

        def backward(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            if not input_gradient:
                return None
            # Products and sums with a mask; masked copies take many times longer.
            mask = np.less_equal(y, 0, out=context.empty("mask", y.shape, np.bool_))
            dx = np.add(y, self.alpha, out=context.empty("dx", y.shape, y.dtype))
            dx *= mask
            dx += np.logical_not(mask, out=mask)
            dx *= dy
            return dx

        return y, backward
