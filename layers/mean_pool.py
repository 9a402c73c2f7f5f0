"""Mean pooling (SPEC section 6)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from layers.arrays import Array, Params, Shape
from layers.context import EVALUATION, Context
from layers.hyperparameters import as_pair
from layers.layer import Backward, Operations
from layers.pooling_blocks import PoolingBlocks


@dataclass(frozen=True)
class MeanPool(PoolingBlocks):
    """The mean of each block and channel; each position gets an equal share of the feedback."""

    def operations(self, input_shape: Shape) -> Operations:
        elements = math.prod(input_shape)
        return Operations(elements, math.prod(self.shapes(input_shape).output))

    def forward(
        self, params: Params, x: Array, context: Context = EVALUATION
    ) -> tuple[Array, Backward]:
        rows, columns = as_pair(self.size)
        whole = self.whole_blocks(x)
        positions = [whole[:, i::rows, j::columns] for i in range(rows) for j in range(columns)]
        y = context.empty_like("y", positions[0])
        np.copyto(y, positions[0])
        for position in positions[1:]:
            y += position
        y *= 1 / (rows * columns)

        def backward(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            if not input_gradient:
                return None
            dx = context.empty_like("dx", x, dtype=dy.dtype)
            dwhole = self.whole_blocks(dx)
            if dwhole.shape != dx.shape:
                dx[...] = 0
            for i in range(rows):
                for j in range(columns):
                    np.multiply(dy, 1 / (rows * columns), out=dwhole[:, i::rows, j::columns])
            return dx

        return y, backward
