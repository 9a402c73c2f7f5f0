"""Dropout: in training, set elements to 0 at random.

Formulas: docs/mathematics.md#5-vector-layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sumgrad.layers.base.arrays import Array, Params, Shape
from sumgrad.layers.base.context import EVALUATION, Context
from sumgrad.layers.base.hyperparameters import require, within
from sumgrad.layers.base.layer import Backward, Operations, Shapes
from sumgrad.layers.base.random_streams import DROPOUT_STREAM, generator


@dataclass(frozen=True)
class Dropout:
    """Drop each element with probability ``rate``; divide the survivors by 1 − rate.

    So the mean is the same in training and in evaluation, where the layer is the identity. The
    dropped elements follow from the context's key alone. No parameters.
    Source: Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from
    overfitting"; divided in training rather than multiplied in evaluation (section 10).
    """

    rate: float

    def __post_init__(self) -> None:
        require(self, rate=within(0, 1))

    def shapes(self, input_shape: Shape) -> Shapes:
        return Shapes({}, input_shape)

    def operations(self, input_shape: Shape) -> Operations:
        return Operations(4 * math.prod(input_shape), 2 * math.prod(input_shape))

    def init(self, rng: np.random.Generator, params: Params) -> None:
        pass

    def forward(
        self, params: Params, x: Array, context: Context = EVALUATION
    ) -> tuple[Array, Backward]:
        if context.key is None:
            return x, lambda dy, grads, input_gradient=True: dy if input_gradient else None
        seed, *numbers = context.key
        draws = context.empty("draws", x.shape, np.float32)
        generator(seed, DROPOUT_STREAM, *numbers).random(dtype=np.float32, out=draws)
        kept = np.greater_equal(draws, self.rate, out=context.empty("kept", x.shape, np.bool_))

        def survivors(values: Array, name: str) -> Array:
            result = np.multiply(values, kept, out=context.empty(name, values.shape, values.dtype))
            result /= 1 - self.rate
            return result

        def backward(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            return survivors(dy, "dx") if input_gradient else None

        return survivors(x, "y"), backward
