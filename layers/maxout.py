"""Maxout: for each unit, the largest of several affine maps.

Formulas: docs/mathematics.md#5-vector-layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sumgrad.layers.affine import as_rows
from sumgrad.layers.base.arrays import Array, Params, Shape
from sumgrad.layers.base.context import EVALUATION, Context
from sumgrad.layers.base.hyperparameters import above, at_least, one_of, require
from sumgrad.layers.base.initialisers import INITIALISERS, Initialiser, fans, initialise
from sumgrad.layers.base.layer import Backward, Operations, Shapes


@dataclass(frozen=True)
class Maxout:
    """Each of ``units`` outputs is the largest of ``pieces`` affine maps of the whole input.

    Feedback goes through the winning piece alone, the first where several tie. A sample of any
    shape is read as one vector of h_in elements. Parameters: W (units × pieces × h_in), filled
    by ``initialiser``, and b (units × pieces), zeros at the start. ``init_std`` is the standard
    deviation of the initialiser "normal".
    Source: Goodfellow et al. 2013, "Maxout networks".
    """

    units: int
    pieces: int
    initialiser: Initialiser = "he"
    init_std: float = 0.01

    def __post_init__(self) -> None:
        require(
            self,
            units=at_least(1),
            pieces=at_least(1),
            initialiser=one_of(*INITIALISERS),
            init_std=above(0),
        )

    def shapes(self, input_shape: Shape) -> Shapes:
        maps = (self.units, self.pieces)
        return Shapes({"W": (*maps, math.prod(input_shape)), "b": maps}, (self.units,))

    def operations(self, input_shape: Shape) -> Operations:
        maps = self.units * self.pieces
        product = 2 * maps * math.prod(input_shape)
        return Operations(product + 2 * maps - self.units, 2 * product + 3 * maps)

    def init(self, rng: np.random.Generator, params: Params) -> None:
        # One piece of a unit takes part at a time, so an input feeds as many outputs as units.
        own = fans(params["W"].shape[-1], self.units)
        initialise(self.initialiser, self.init_std, rng, params["W"], *own)
        params["b"][:] = 0

    def forward(
        self, params: Params, x: Array, context: Context = EVALUATION
    ) -> tuple[Array, Backward]:
        b = params["b"]
        rows = as_rows(x, context)
        W = params["W"].reshape(b.size, rows.shape[1])
        flat = np.matmul(rows, W.T, out=context.empty("z", (len(x), b.size), x.dtype))
        z = flat.reshape(len(x), *b.shape)
        z += b
        y = context.empty("y", (len(x), len(b)), x.dtype)
        np.copyto(y, z[:, :, 0])
        # Piece by piece: a reduction over so short an axis takes many times longer.
        for piece in range(1, z.shape[2]):
            np.maximum(y, z[:, :, piece], out=y)

        def backward(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            dz = context.empty("dz", z.shape, dy.dtype)
            undecided = context.empty("undecided", y.shape, np.bool_)
            undecided.fill(True)
            won = context.empty("won", y.shape, np.bool_)
            for piece in range(z.shape[2]):
                np.equal(z[:, :, piece], y, out=won)
                won &= undecided
                undecided ^= won
                np.multiply(dy, won, out=dz[:, :, piece])
            flat = dz.reshape(len(x), b.size)
            np.matmul(flat.T, rows, out=grads["W"].reshape(W.shape, copy=False))
            np.add.reduce(dz, axis=0, out=grads["b"])
            if not input_gradient:
                return None
            dx = context.empty("dx", rows.shape, dy.dtype)
            return np.matmul(flat, W, out=dx).reshape(x.shape)

        return y, backward
