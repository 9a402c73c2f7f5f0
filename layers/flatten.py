"""Flatten: a sample of any shape as one vector. Formulas: docs/mathematics.md#5-vector-layers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sumgrad.layers.affine import as_rows
from sumgrad.layers.base.arrays import Array, Params, Shape
from sumgrad.layers.base.context import EVALUATION, Context
from sumgrad.layers.base.layer import Backward, Operations, Shapes


@dataclass(frozen=True)
class Flatten:
    """Read each sample as a vector, in row-major order. No parameters; copies only if needed."""

    def shapes(self, input_shape: Shape) -> Shapes:
        return Shapes({}, (math.prod(input_shape),))

    def operations(self, input_shape: Shape) -> Operations:
        return Operations(0, 0)

    def init(self, rng: np.random.Generator, params: Params) -> None:
        pass

    def forward(
        self, params: Params, x: Array, context: Context = EVALUATION
    ) -> tuple[Array, Backward]:
        def backward(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            return dy.reshape(x.shape) if input_gradient else None

        return as_rows(x, context), backward
