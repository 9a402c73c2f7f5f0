"""Layer normalisation: the last axis of a sample to mean 0 and variance 1, then scaled.

Formulas: docs/mathematics.md#5-vector-layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sumgrad.layers.base.arrays import Array, Params, Shape
from sumgrad.layers.base.context import EVALUATION, Context
from sumgrad.layers.base.hyperparameters import ShapeError, above, require
from sumgrad.layers.base.layer import Backward, Operations, Shapes


@dataclass(frozen=True)
class LayerNorm:
    """Y = gain ⊙ (X − mean) / √(variance + ε) + bias, over the last axis of each sample.

    For a vector that is over all its elements; for an image, channels last, it is over the
    channels of each position. Parameters, both of that axis's length: gain, ones at the start,
    and bias, zeros. The variance is the mean square, divided by the length n.
    Source: Ba, Kiros, Hinton 2016, "Layer normalization".
    """

    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        require(self, epsilon=above(0))

    def shapes(self, input_shape: Shape) -> Shapes:
        """Parameter and output shapes.

        Raises:
            ShapeError: fewer than two elements, which would always become the bias.
        """
        length = input_shape[-1] if input_shape else 1
        if length < 2:
            raise ShapeError(
                "layer_norm needs at least 2 elements along the last axis to normalise over, "
                f"but gets samples of shape {input_shape}"
            )
        return Shapes({"gain": (length,), "bias": (length,)}, input_shape)

    def operations(self, input_shape: Shape) -> Operations:
        elements = math.prod(input_shape)
        groups = elements // input_shape[-1]
        return Operations(7 * elements + 4 * groups, 11 * elements + 2 * groups)

    def init(self, rng: np.random.Generator, params: Params) -> None:
        params["gain"][:] = 1
        params["bias"][:] = 0

    def forward(
        self, params: Params, x: Array, context: Context = EVALUATION
    ) -> tuple[Array, Backward]:
        gain, bias = params["gain"], params["bias"]
        n = len(gain)
        groups = (*x.shape[:-1], 1)

        def mean_over_last(values: Array, name: str) -> Array:
            means = context.empty(name, groups, values.dtype)
            np.add.reduce(values, axis=-1, keepdims=True, out=means)
            means /= n
            return means

        def mean_product(a: Array, b: Array, name: str) -> Array:
            means = context.empty(name, groups, a.dtype)
            np.vecdot(a, b, out=means[..., 0])
            means /= n
            return means

        centred = context.empty("normalised", x.shape, x.dtype)
        np.subtract(x, mean_over_last(x, "mean"), out=centred)
        deviation = mean_product(centred, centred, "deviation")
        deviation += self.epsilon
        np.sqrt(deviation, out=deviation)
        normalised = np.divide(centred, deviation, out=centred)
        y = np.multiply(normalised, gain, out=context.empty("y", x.shape, x.dtype))
        y += bias

        def backward(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            all_but_last = tuple(range(x.ndim - 1))
            scratch = context.empty("scratch", x.shape, dy.dtype)
            np.multiply(dy, normalised, out=scratch)
            np.add.reduce(scratch, axis=all_but_last, out=grads["gain"])
            np.add.reduce(dy, axis=all_but_last, out=grads["bias"])
            if not input_gradient:
                return None
            dx = np.multiply(dy, gain, out=context.empty("dx", x.shape, dy.dtype))
            # Remove the parts of δX̂ along the mean and along X̂: Y does not depend on them.
            along = mean_product(dx, normalised, "along")
            dx -= mean_over_last(dx, "mean")
            dx -= np.multiply(normalised, along, out=scratch)
            dx /= deviation
            return dx

        return y, backward
