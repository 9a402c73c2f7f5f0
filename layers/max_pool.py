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
        # taken apart once: what follows then runs through long stretches of memory.
        apart = by_column(self.whole_blocks(x))
        if columns > 1:
            apart = [_copy(column, f"column {j}", context) for j, column in enumerate(apart)]
        across, later_columns = _largest(apart, "across", context)
        y, later_rows = _largest(by_row(across), "y", context)

        def backward(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            if not input_gradient:
                return None
            # What is in the columns' memory is not needed any more.
            dapart = [
                context.empty_like(f"column {j}", column, dtype=dy.dtype)
                for j, column in enumerate(apart)
            ]
            dacross = context.empty_like("dacross", across, dtype=dy.dtype)
            _to_largest(dy, later_rows, by_row(dacross), context)
            _to_largest(dacross, later_columns, dapart, context)
            dx = context.empty_like("dx", x, dtype=dy.dtype)
            dwhole = self.whole_blocks(dx)
            if dwhole.shape != dx.shape:
                dx[...] = 0
            for part, dcolumn in zip(by_column(dwhole), dapart, strict=True):
                np.copyto(part, dcolumn)
            return dx

        return y, backward


def _copy(array: Array, name: str, context: Context) -> Array:
    copy = context.empty_like(name, array)
    np.copyto(copy, array)
    return copy


def _largest(parts: list[Array], name: str, context: Context) -> tuple[Array, list[Array]]:
    """The largest of each element's parts, and for every part but the first where it is larger
    than all before it."""
    largest, later = parts[0], []
    for i, part in enumerate(parts[1:], start=1):
        larger = context.empty_like(f"{name} {i}", part, dtype=np.bool_)
        later.append(np.greater(part, largest, out=larger))
        largest = np.maximum(largest, part, out=context.empty_like(name, parts[0]))
    return largest, later


def _to_largest(d: Array, later: list[Array], dparts: list[Array], context: Context) -> None:
    """Give each element of d to the part that has the largest one, 0 to the others."""
    left = d
    for i in range(len(later), 0, -1):
        np.multiply(left, later[i - 1], out=dparts[i])
        # What has been given is gone: d − d is 0, d − 0 is d, both exactly.
        rest = dparts[0] if i == 1 else context.empty_like("rest", d)
        left = np.subtract(left, dparts[i], out=rest)
    if not later:
        np.copyto(dparts[0], d)
