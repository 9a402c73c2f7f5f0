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
        down, rows = _largest(self._by_row(self.whole_blocks(x)), "down", context)
        across = self._by_column(down)
        if len(across) == 1:
            return down, Winners(rows, [])
        # Taken apart once, so that what follows runs through long stretches of memory.
        scratch = context.scratch
        parts = [_copy(part, f"column {j}", scratch) for j, part in enumerate(across)]
        y, columns = _largest(parts, "y", context)
        if rows:
            row_numbers = self._by_column(_row_numbers(rows, scratch))
            _prefer_upper_rows(parts, row_numbers, columns, scratch)
        return y, Winners(rows, columns)

    def spread(self, dy: Array, winners: Winners, dx: Array, context: Context) -> None:
        """Write δX to where Y came from and 0 elsewhere, but nothing to a ragged edge."""
        scratch, dwhole = context.scratch, self.whole_blocks(dx)
        ddown = dy
        if winners.columns:
            ddown = scratch.empty_like("ddown", dx, self._by_row(dwhole)[0].shape)
            across = self._by_column(ddown)
            parts = [
                scratch.empty_like(f"column {j}", dx, part.shape) for j, part in enumerate(across)
            ]
            _to_largest(dy, winners.columns, parts, scratch)
            for column, part in zip(across, parts, strict=True):
                np.copyto(column, part)
        _to_largest(ddown, winners.rows, self._by_row(dwhole), scratch)

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


def _row_numbers(later: list[Array], context: Context) -> Array:
    """The last row that is larger than all before it, from 0."""
    if len(later) == 1:
        return later[0].view(np.int8)
    numbers = context.empty_like("row numbers", later[0], dtype=np.int32)
    number = context.empty_like("row number", later[0], dtype=np.int32)
    np.copyto(numbers, later[0])
    for i, larger in enumerate(later[1:], start=2):
        np.maximum(numbers, np.multiply(larger, i, out=number), out=numbers)
    return numbers


def _prefer_upper_rows(
    parts: list[Array], row_numbers: list[Array], columns: list[Array], context: Context
) -> None:
    """Where columns are as large, the one whose largest element is in the upper row wins.

    Within a column the upper one of equal elements has been found already, so this makes it the
    first in row-major order. Changes ``columns``, by which the left one of equal ones wins.
    """
    largest, row = parts[0], row_numbers[0]
    upper = context.empty_like("upper", largest, dtype=np.bool_)
    equal = context.empty_like("equal", largest, dtype=np.bool_)
    for part, number, larger in zip(parts[1:], row_numbers[1:], columns, strict=True):
        np.less(number, row, out=upper)
        upper &= np.equal(part, largest, out=equal)
        larger |= upper
        if part is not parts[-1]:
            largest = np.maximum(largest, part, out=context.empty_like("so far", largest))
            step = context.empty_like("row step", largest, dtype=number.dtype)
            np.multiply(np.subtract(number, row, out=step), larger, out=step)
            row = np.add(
                row, step, out=context.empty_like("row so far", largest, dtype=number.dtype)
            )


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
