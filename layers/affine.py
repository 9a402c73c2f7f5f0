"""Affine layer, Y = X Wᵀ + 1 bᵀ (SPEC section 5)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from layers.hyperparameters import at_least, require
from layers.initialisers import he
from layers.layer import Array, Backward, Params, Shape, Shapes


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

    def init(self, rng: np.random.Generator, params: Params) -> None:
        he(rng, params["W"], fan_in=params["W"].shape[1])
        params["b"][:] = 0

    def forward(self, params: Params, x: Array) -> tuple[Array, Backward]:
        W, b = params["W"], params["b"]
        rows = x.reshape(len(x), -1)
        y = rows @ W.T
        y += b

        def backward(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            np.matmul(dy.T, rows, out=grads["W"])
            np.add.reduce(dy, axis=0, out=grads["b"])
            return (dy @ W).reshape(x.shape) if input_gradient else None

        return y, backward
