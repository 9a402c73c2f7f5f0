"""Max pooling (SPEC section 6)."""

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
        rows, columns = as_pair(self.size)

        def by_row(array: Array) -> list[Array]:
            return [array[:, i::rows] for i in range(rows)]

        def by_column(array: Array) -> list[Array]:
            return [array[:, :, j::columns] for j in range(columns)]

        # Columns first, so that the first of equal ones is the first in row-major order. They are
        # taken apart once: all that follows then runs through long stretches of memory.
        apart = [
            _copy(part, f"column {j}", context)
            for j, part in enumerate(by_column(self.whole_blocks(x)))
        ]
        across = _largest(apart, "across", context)
        y = _largest(by_row(across), "y", context)

        def backward(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            if not input_gradient:
                return None
            dacross = context.empty_like("dacross", across, dtype=dy.dtype)
            _to_first_largest(dy, y, by_row(across), by_row(dacross), context)
            dapart = [
                context.empty_like(f"dcolumn {j}", part, dtype=dy.dtype)
                for j, part in enumerate(apart)
            ]
            _to_first_largest(dacross, across, apart, dapart, context)
            dx = context.empty_like("dx", x, dtype=dy.dtype)
            dwhole = self.whole_blocks(dx)
            if dwhole.shape != dx.shape:
                dx[...] = 0
            for part, dpart in zip(by_column(dwhole), dapart, strict=True):
                np.copyto(part, dpart)
            return dx

        return y, backward


def _copy(array: Array, name: str, context: Context) -> Array:
    copy = context.empty_like(name, array)
    np.copyto(copy, array)
    return copy


def _largest(parts: list[Array], name: str, context: Context) -> Array:
    """Element by element, over all parts."""
    largest, *others = parts
    for part in others:
        out = context.empty_like(name, parts[0])
        largest = np.maximum(largest, part, out=out)
    return largest


def _to_first_largest(
    d: Array, largest: Array, parts: list[Array], dparts: list[Array], context: Context
) -> None:
    """Give each element of d to the first part that has the largest one, 0 to the others."""
    if len(parts) == 1:
        np.copyto(dparts[0], d)
        return
    is_largest = context.empty_like("is largest", largest, dtype=np.bool_)
    left = d
    for i, (part, dpart) in enumerate(zip(parts[:-1], dparts[:-1], strict=True)):
        np.equal(part, largest, out=is_largest)
        np.multiply(left, is_largest, out=dpart)
        # What has been given is gone: d − d is 0, d − 0 is d, both exactly.
        rest = dparts[-1] if i == len(parts) - 2 else context.empty_like("rest", d)
        left = np.subtract(left, dpart, out=rest)
