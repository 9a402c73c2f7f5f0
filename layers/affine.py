"""Affine layer, Y = X Wᵀ + 1 bᵀ. Formulas: docs/mathematics.md#5-vector-layers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sumgrad.layers.base.arrays import Array, Params, Shape
from sumgrad.layers.base.context import EVALUATION, Context
from sumgrad.layers.base.hyperparameters import above, at_least, one_of, require
from sumgrad.layers.base.initialisers import INITIALISERS, Initialiser, fans, initialise
from sumgrad.layers.base.layer import Backward, Operations, Shapes


@dataclass(frozen=True)
class Affine:
    """An affine map: every output is a weighted sum of all inputs, plus a bias.

    A sample of any shape is read as one vector of h_in elements; the output is a vector of
    ``units`` elements. Parameters: W (units × h_in), filled by ``initialiser``, and b (units),
    zeros at the start. ``init_std`` is the standard deviation of the initialiser "normal".
    """

    units: int
    initialiser: Initialiser = "he"
    init_std: float = 0.01

    def __post_init__(self) -> None:
        require(self, units=at_least(1), initialiser=one_of(*INITIALISERS), init_std=above(0))

    def shapes(self, input_shape: Shape) -> Shapes:
        params = {"W": (self.units, math.prod(input_shape)), "b": (self.units,)}
        return Shapes(params, (self.units,))

    def operations(self, input_shape: Shape) -> Operations:
        product = 2 * self.units * math.prod(input_shape)
        return Operations(product + self.units, 2 * product + self.units)

    def init(self, rng: np.random.Generator, params: Params) -> None:
        h_out, h_in = params["W"].shape
        initialise(self.initialiser, self.init_std, rng, params["W"], *fans(h_in, h_out))
        params["b"][:] = 0

    def forward(
        self, params: Params, x: Array, context: Context = EVALUATION
    ) -> tuple[Array, Backward]:
        W, b = params["W"], params["b"]
        rows = as_rows(x, context)
        y = np.matmul(rows, W.T, out=context.empty("y", (len(x), len(b)), x.dtype))
        y += b

        def backward(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            np.matmul(dy.T, rows, out=grads["W"])
            np.add.reduce(dy, axis=0, out=grads["b"])
            if not input_gradient:
                return None
            dx = context.empty("dx", rows.shape, dy.dtype)
            return np.matmul(dy, W, out=dx).reshape(x.shape)

        return y, backward


def as_rows(x: Array, context: Context) -> Array:
    """Each sample as one vector, in row-major order; a copy only where there is no such view."""
    shape = (len(x), math.prod(x.shape[1:]))
    if x.flags.c_contiguous:
        return x.reshape(shape)
    rows = context.empty("rows", x.shape, x.dtype)
    np.copyto(rows, x)
    return rows.reshape(shape)
