"""Max pooling (SPEC section 6)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from layers.arrays import Array, Params, Shape
from layers.context import EVALUATION, Context
from layers.hyperparameters import as_pair
from layers.layer import Backward, Operations
from layers.pooling_blocks import PoolingBlocks


class Winners(NamedTuple):
    """Where the largest elements are: for every row of the blocks but the first, and every column
    but the first, whether it is larger than all before it."""

    rows: list[Array]
    columns: list[Array]


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
        apart = self._by_column(self.whole_blocks(x))
        if len(apart) > 1:
            # Taken apart once, so that what follows runs through long stretches of memory.
            apart = [
                _copy(column, f"column {j}", context.scratch) for j, column in enumerate(apart)
            ]
        # Columns first, so that the first of equal ones is the first in row-major order.
        across, columns = _largest(apart, "across", context)
        y, rows = _largest(self._by_row(across), "y", context)
        return y, Winners(rows, columns)

    def spread(self, dy: Array, winners: Winners, dx: Array, context: Context) -> None:
        """Write δX to where Y came from and 0 elsewhere, but nothing to a ragged edge."""
        scratch = context.scratch
        columns = self._by_column(self.whole_blocks(dx))
        apart = [
            scratch.empty_like(f"column {j}", dx, column.shape) for j, column in enumerate(columns)
        ]
        across = scratch.empty_like("dacross", dx, columns[0].shape)
        _to_largest(dy, winners.rows, self._by_row(across), scratch)
        _to_largest(across, winners.columns, apart, scratch)
        for column, part in zip(columns, apart, strict=True):
            np.copyto(column, part)

    def _by_row(self, array: Array) -> list[Array]:
        rows, _ = as_pair(self.size)
        return [array[:, i::rows] for i in range(rows)]

    def _by_column(self, array: Array) -> list[Array]:
        _, columns = as_pair(self.size)
        return [array[:, :, j::columns] for j in range(columns)]


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
