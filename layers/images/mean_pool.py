"""Mean pooling. Formulas: docs/mathematics.md#6-image-layers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sumgrad.layers.base.arrays import Array, Params, Shape
from sumgrad.layers.base.context import EVALUATION, Context
from sumgrad.layers.base.layer import Backward, Operations
from sumgrad.layers.images.pooling_blocks import PoolingBlocks


@dataclass(frozen=True)
class MeanPool(PoolingBlocks):
    """The mean of each block and channel; each position gets an equal share of the feedback."""

    def operations(self, input_shape: Shape) -> Operations:
        elements = math.prod(input_shape)
        return Operations(elements, math.prod(self.shapes(input_shape).output))

    def forward(
        self, params: Params, x: Array, context: Context = EVALUATION
    ) -> tuple[Array, Backward]:
        first, *later = self.positions_apart(x, context.scratch)
        share = 1 / (1 + len(later))
        y = context.empty_like("y", first)
        np.copyto(y, first)
        for position in later:
            y += position
        y *= share

        def backward(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            if not input_gradient:
                return None
            dx = context.empty_like("dx", x, dtype=dy.dtype)
            if self.whole_blocks(dx).shape != dx.shape:
                dx[...] = 0
            each = np.multiply(dy, share, out=context.scratch.empty_like("share", dy))
            self.put_positions([each] * (1 + len(later)), dx)
            return dx

        return y, backward
