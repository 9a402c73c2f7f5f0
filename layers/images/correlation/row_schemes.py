"""Row schemes: they deal with the rows of a kernel, so that only columns are left to correlate.

A scheme turns the rows of a few samples into ``depth`` slabs in which a correlation along the
columns alone gives the products that the output rows consist of. Each step has its adjoint, and
backward consists of these.

Arrays: x (input rows, b, pitch, C) and y (output rows, b, pitch, O), in memory in the order that
the scheme wants; slabs (depth, positions, …), a position for each column of each tile and sample.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.lib.stride_tricks import as_strided

from sumgrad.layers.base.arrays import Array
from sumgrad.layers.images.correlation.cook_toom import MAX_PRODUCTS, cook_toom

STACK_BELOW = 32
"""Numbers in a row of a window below which products are too thin to be fast."""


class RowScheme(Protocol):
    """Attributes:
    depth: slabs.
    tiles: rows of a slab.
    input_rows, output_rows: rows of x and y; y's last ones may be more than wanted.
    rows_first: x and y lie row by row, each with all samples, or sample by sample.
    in_place: the products are y itself, and their feedback dy.
    """

    depth: int
    tiles: int
    input_rows: int
    output_rows: int
    rows_first: bool
    in_place: bool

    def slab_channels(self, channels: int) -> int: ...

    def kernels(self, K: Array) -> Array:
        """(depth, kernel columns, slab channels, O) of K (rows, columns, C, O)."""
        ...

    def kernels_adjoint(self, dU: Array) -> Array: ...

    def slabs(self, x: Array, slabs: Array) -> None:
        """Fill slabs (depth, positions, slab channels)."""
        ...

    def slabs_adjoint(self, dslabs: Array, dx: Array, scratch: Array) -> None:
        """Fill dx; scratch has as many elements as dslabs."""
        ...

    def products(self, y: Array, scratch: Array) -> Array:
        """Where the products for y are to be put: (depth, positions, O)."""
        ...

    def outputs(self, products: Array, y: Array) -> None:
        """Fill y from its products."""
        ...

    def outputs_adjoint(self, dy: Array, scratch: Array) -> Array:
        """Feedback of the products (depth, positions, O)."""
        ...


def row_scheme(rows: int, kernel_rows: int, kernel_columns: int, channels: int) -> RowScheme:
    """The faster scheme for this many output rows."""
    if kernel_rows == 1 or kernel_columns * channels < STACK_BELOW:
        return Stacked(rows, kernel_rows)
    return FastRows(rows, kernel_rows)


class Stacked:
    """The kernel's rows become channels: position (u, v) has x[u], x[u+1], … x[u+r−1] at v."""

    depth = 1
    rows_first = False
    in_place = True

    def __init__(self, rows: int, kernel_rows: int) -> None:
        self._kernel_rows = kernel_rows
        self.tiles = self.output_rows = rows
        self.input_rows = rows + kernel_rows - 1

    def slab_channels(self, channels: int) -> int:
        return self._kernel_rows * channels

    def kernels(self, K: Array) -> Array:
        rows, columns, channels, filters = K.shape
        return K.transpose(1, 0, 2, 3).reshape(1, columns, rows * channels, filters)

    def kernels_adjoint(self, dU: Array) -> Array:
        _, columns, stacked, filters = dU.shape
        rows = self._kernel_rows
        return dU.reshape(columns, rows, stacked // rows, filters).transpose(1, 0, 2, 3)

    def slabs(self, x: Array, slabs: Array) -> None:
        for i, part in enumerate(self._parts(slabs, x.shape)):
            np.copyto(part, x[i : i + self.tiles])

    def slabs_adjoint(self, dslabs: Array, dx: Array, scratch: Array) -> None:
        dx[...] = 0
        for i, part in enumerate(self._parts(dslabs, dx.shape)):
            dx[i : i + self.tiles] += part

    def _parts(self, slabs: Array, shape: tuple[int, ...]) -> list[Array]:
        """The channels of each kernel row, in x's order of axes."""
        _, samples, pitch, channels = shape
        used = slabs[0, : self.tiles * samples * pitch]
        parts = used.reshape(samples, self.tiles, pitch, self._kernel_rows, channels)
        return [parts[:, :, :, i].swapaxes(0, 1) for i in range(self._kernel_rows)]

    def products(self, y: Array, scratch: Array) -> Array:
        # As many positions as scratch has: a few beyond y, in its spare memory.
        return as_strided(y, scratch.shape, (0, *y.strides[2:]))

    def outputs(self, products: Array, y: Array) -> None:
        pass

    def outputs_adjoint(self, dy: Array, scratch: Array) -> Array:
        return self.products(dy, scratch)


class FastRows:
    """Cook–Toom along the rows: m output rows by m + r − 1 slabs, where m·r would be plain."""

    rows_first = True
    in_place = False

    def __init__(self, rows: int, kernel_rows: int) -> None:
        m = _tile_rows(rows, kernel_rows)
        self._AT, self._G, self._BT = cook_toom(m, kernel_rows)
        self._m = m
        self.depth = m + kernel_rows - 1
        self.tiles = -(-rows // m)
        self.output_rows = self.tiles * m
        self.input_rows = self.output_rows + kernel_rows - 1

    def slab_channels(self, channels: int) -> int:
        return channels

    def kernels(self, K: Array) -> Array:
        G = self._G.astype(K.dtype)
        return (G @ K.reshape(len(K), -1)).reshape(self.depth, *K.shape[1:])

    def kernels_adjoint(self, dU: Array) -> Array:
        G = self._G.astype(dU.dtype)
        return (G.T @ dU.reshape(self.depth, -1)).reshape(-1, *dU.shape[1:])

    def slabs(self, x: Array, slabs: Array) -> None:
        width = x[0].size
        tiles = self._by_tile(x, self.depth, width)
        np.matmul(self._BT.astype(x.dtype), tiles, out=self._transposed(slabs, width))

    def slabs_adjoint(self, dslabs: Array, dx: Array, scratch: Array) -> None:
        width = dx[0].size
        tiles = scratch.reshape(-1)[: self.tiles * self.depth * width]
        tiles = tiles.reshape(self.tiles, self.depth, width)
        np.matmul(self._BT.T.astype(dx.dtype), self._transposed(dslabs, width), out=tiles)
        # Tiles overlap: row i of tile t is row t·m + i.
        rows = dx.reshape(len(dx), width)
        rows[self.output_rows :] = 0
        for i in range(self.depth):
            part = rows[i :: self._m][: self.tiles]
            if i < self._m:
                np.copyto(part, tiles[:, i])
            else:
                part += tiles[:, i]

    def products(self, y: Array, scratch: Array) -> Array:
        return scratch

    def outputs(self, products: Array, y: Array) -> None:
        width = y[0].size
        tiles = self._by_tile(y, self._m, width)
        np.matmul(self._AT.astype(y.dtype), self._transposed(products, width), out=tiles)

    def outputs_adjoint(self, dy: Array, scratch: Array) -> Array:
        width = dy[0].size
        tiles = self._by_tile(dy, self._m, width)
        np.matmul(self._AT.T.astype(dy.dtype), tiles, out=self._transposed(scratch, width))
        return scratch

    def _by_tile(self, rows: Array, count: int, width: int) -> Array:
        """(tiles, count, width): ``count`` rows from every m-th row on."""
        row = rows.strides[0]
        shape = (self.tiles, count, width)
        return as_strided(rows, shape, (self._m * row, row, rows.itemsize))

    def _transposed(self, slabs: Array, width: int) -> Array:
        """(tiles, depth, width) of slabs."""
        shape = (self.tiles, self.depth, width)
        return as_strided(slabs, shape, (width * slabs.itemsize, slabs.strides[0], slabs.itemsize))


def _tile_rows(rows: int, kernel_rows: int) -> int:
    """The m that needs the fewest products, the smallest such one."""
    candidates = range(1, max(1, MAX_PRODUCTS + 1 - kernel_rows) + 1)
    return min(candidates, key=lambda m: (-(-rows // m) * (m + kernel_rows - 1), m))
