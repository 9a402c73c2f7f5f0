"""Affine layer, Y = X Wᵀ + 1 bᵀ (SPEC section 5)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from layers.arrays import Array, Params, Shape
from layers.context import EVALUATION, Context
from layers.hyperparameters import at_least, require
from layers.initialisers import he
from layers.layer import Backward, Operations, Shapes


@dataclass(frozen=True)
class Affine:
    """Every output is a weighted sum of all inputs, plus a bias.

    A sample of any shape is read as one vector of h_in elements; the output is a vector of
    ``units`` elements. Parameters: W (units × h_in), He-initialised, and b (units), zeros.
    """

    units: int

    def __post_init__(self) -> None:
        require(self, units=at_least(1))

    def shapes(self, input_shape: Shape) -> Shapes:
        params = {"W": (self.units, math.prod(input_shape)), "b": (self.units,)}
        return Shapes(params, (self.units,))

    def operations(self, input_shape: Shape) -> Operations:
        product = 2 * self.units * math.prod(input_shape)
        return Operations(product + self.units, 2 * product + self.units)

    def init(self, rng: np.random.Generator, params: Params) -> None:
        he(rng, params["W"], fan_in=params["W"].shape[1])
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
