"""Max pooling. Formulas: docs/mathematics.md#6-image-layers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sumgrad.layers.base.arrays import Array, Params, Shape
from sumgrad.layers.base.context import EVALUATION, Context
from sumgrad.layers.base.layer import Backward, Operations
from sumgrad.layers.images.pooling_blocks import PoolingBlocks

Winners = list[Array]
"""For every position of the blocks but the first, a mask: larger than all before it."""


@dataclass(frozen=True)
class MaxPool(PoolingBlocks):
    """The largest element of each block and channel.

    The feedback goes to its position, the first in row-major order where several are as large.
    """

    def operations(self, input_shape: Shape) -> Operations:
        elements = math.prod(input_shape)
        return Operations(elements, elements)

    def forward(
        self, params: Params, x: Array, context: Context = EVALUATION
    ) -> tuple[Array, Backward]:
        y, winners = self.reduce(x, context)

        def backward(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            if not input_gradient:
                return None
            dx = context.empty_like("dx", x, dtype=dy.dtype)
            if self.whole_blocks(dx).shape != dx.shape:
                dx[...] = 0
            self.spread(dy, winners, dx, context)
            return dx

        return y, backward

    def reduce(self, x: Array, context: Context) -> tuple[Array, Winners]:
        """Y, and where it came from."""
        first, *later = self.positions_apart(x, context.scratch)
        y = context.empty_like("y", first)
        np.copyto(y, first)
        winners = []
        for i, part in enumerate(later, start=1):
            larger = context.empty_like(f"winners {i}", part, dtype=np.bool_)
            winners.append(np.greater(part, y, out=larger))
            np.maximum(y, part, out=y)
        return y, winners

    def spread(self, dy: Array, winners: Winners, dx: Array, context: Context) -> None:
        """Write δX to where Y came from and 0 elsewhere, but nothing to a ragged edge."""
        parts = self.positions_like(dx, context.scratch)
        left = dy
        for part, larger in zip(parts[:0:-1], reversed(winners), strict=True):
            np.multiply(left, larger, out=part)
            # Take away what was written: d − d is 0, d − 0 is d, both exactly.
            left = np.subtract(left, part, out=parts[0])
        if not winners:
            parts[0] = dy
        self.put_positions(parts, dx)
