"""Correlations of a few samples at stride 1, forward and back."""

from __future__ import annotations

import numpy as np

from sumgrad.layers.base.arrays import Array
from sumgrad.layers.base.context import Context
from sumgrad.layers.images.correlation.phases import Size
from sumgrad.layers.images.correlation.row_schemes import RowScheme, row_scheme
from sumgrad.layers.images.correlation.windows import by_window, padded_positions, windows

WORKING_SET = 4 << 20
"""Bytes that the samples in work may take: about a core's share of the caches. Fewer samples make
thinner products, more fall out of the caches
(docs/decisions/layers.md#a-few-samples-at-a-time-4-mb)."""


class Correlation:
    """y[u, v] = Σ_{i,j} x[u+i, v+j] K[i, j] for a number of samples at a time.

    Attributes:
        x: (input rows, samples, pitch, C), zeros; the caller writes samples into it.
        dy: (output rows, samples, pitch, O), zeros; the caller writes feedback into its first
            ``rows`` and ``columns``, and nowhere else.
    """

    def __init__(self, size: Size, K: Array, samples: int, context: Context) -> None:
        kernel_rows, self._columns, channels, filters = K.shape
        scheme = self._scheme = row_scheme(size.rows, kernel_rows, self._columns, channels)
        self._samples, self._pitch, self._filters = samples, size.pitch, filters
        self._positions = scheme.tiles * samples * size.pitch
        # Positions before the first one that windows of feedback reach.
        self._lead = self._columns - 1
        self._context, self._dtype = context, K.dtype
        self._slab_channels = scheme.slab_channels(channels)
        self._U = scheme.kernels(K).reshape(scheme.depth, -1, filters)
        rows = scheme.input_rows
        self.x = self._images(self._image_memory("x", rows, channels), rows)
        self._slabs = self._slab_memory("slabs", self._slab_channels)
        self._windows = windows(self._slabs, self._positions, self._columns)
        self._products_memory = self._slab_memory("products", filters, self._lead)
        self._products = self._products_memory[:, self._lead :]

    def forward(self, y: Array) -> None:
        """Fill some samples of ``output_images``, from ``x``, in the order of samples."""
        products = self._scheme.products(y, self._products)
        self._fill_slabs()
        np.matmul(
            self._windows,
            self._U[:, np.newaxis],
            out=by_window(products, self._positions, self._columns),
        )
        self._scheme.outputs(products, y)

    def prepare_backward(self) -> None:
        """Set up ``dy`` and the rest of what backward needs."""
        self._dy_memory = self._image_memory("dy", self._scheme.output_rows, self._filters)
        self.dy = self._images(self._dy_memory, self._scheme.output_rows)
        self._dU = self._zeros("dU", self._U.shape)
        # Before the first and beyond the last position there is no feedback.
        self._products_memory[:, : self._lead] = 0
        self._products[:, self._positions :] = 0
        depth, window, filters = self._U.shape
        by_column = (depth, self._columns, window, filters)
        self._part = self._context.empty("part", by_column, self._dtype)
        self._mirrored = self._mirrored_kernels()
        self._dx = self._context.empty("padded dx", self.x.shape, self._dtype)
        self._tiles = self._context.empty("tiles", self._slabs.shape, self._dtype)

    def backward(self, input_gradient: bool) -> Array:
        """Add to the kernel's gradient from ``x`` and ``dy``.

        Returns:
            dx, of x's shape, if it was asked for; valid until the next call.
        """
        scheme, positions, columns = self._scheme, self._positions, self._columns
        dproducts = by_window(scheme.outputs_adjoint(self.dy, self._products), positions, columns)
        self._fill_slabs()
        np.matmul(self._windows.transpose(0, 1, 3, 2), dproducts, out=self._part)
        self._dU += self._part.sum(axis=1)
        if input_gradient:
            # Position p takes part in the windows from p − columns + 1 to p. The windows'
            # gradients come in place of the windows.
            feedback = self._dy_memory[np.newaxis] if scheme.in_place else self._products_memory
            np.matmul(
                windows(feedback, positions, columns),
                self._mirrored[:, np.newaxis],
                out=by_window(self._slabs, positions, columns),
            )
            scheme.slabs_adjoint(self._slabs, self._dx, self._tiles)
        return self._dx

    def kernel_gradient(self) -> Array:
        """The kernel's gradient over all samples since ``prepare_backward``."""
        return self._scheme.kernels_adjoint(
            self._dU.reshape(len(self._dU), self._columns, self._slab_channels, -1)
        )

    def _fill_slabs(self) -> None:
        """Fill the slabs from ``x``."""
        self._scheme.slabs(self.x, self._slabs)
        # The last windows reach beyond the last position; gradients may lie there.
        self._slabs[:, self._positions :] = 0

    def _mirrored_kernels(self) -> Array:
        """(depth, kernel columns · O, slab channels): the last column first."""
        depth, _, filters = self._U.shape
        by_column = self._U.reshape(depth, self._columns, -1, filters)[:, ::-1]
        mirrored = by_column.transpose(0, 1, 3, 2)
        memory = self._context.empty("mirrored", mirrored.shape, self._dtype)
        np.copyto(memory, mirrored)
        return memory.reshape(depth, self._columns * filters, -1)

    def _slab_memory(self, name: str, channels: int, lead: int = 0) -> Array:
        positions = lead + padded_positions(self._positions, self._columns)
        shape = (self._scheme.depth, positions, channels)
        return self._context.empty(name, shape, self._dtype)

    def _image_memory(self, name: str, rows: int, channels: int) -> Array:
        """(positions and the spare ones before and after them, channels), zeros."""
        spare = padded_positions(self._positions, self._columns) - self._positions
        positions = self._lead + rows * self._samples * self._pitch + spare
        return self._zeros(name, (positions, channels))

    def _images(self, memory: Array, rows: int) -> Array:
        """(rows, samples, pitch, channels)."""
        positions = rows * self._samples * self._pitch
        return _images(memory[self._lead :][:positions], self._scheme, rows, self._samples)

    def _zeros(self, name: str, shape: tuple[int, ...]) -> Array:
        array = self._context.empty(name, shape, self._dtype)
        array[...] = 0
        return array


def output_images(size: Size, K: Array, samples: int, context: Context) -> Array:
    """Memory for y: (output rows, samples, pitch, O).

    Its first ``rows`` and ``columns`` are the output; the rest has no meaning.
    """
    kernel_rows, columns, channels, filters = K.shape
    scheme = row_scheme(size.rows, kernel_rows, columns, channels)
    positions = scheme.output_rows * samples * size.pitch
    spare = padded_positions(positions, columns) - positions
    memory = context.empty("y", (positions + spare, filters), K.dtype)
    return _images(memory[:positions], scheme, scheme.output_rows, samples)


def _images(memory: Array, scheme: RowScheme, rows: int, samples: int) -> Array:
    channels = memory.shape[1]
    if scheme.rows_first:
        return memory.reshape(rows, samples, -1, channels)
    return memory.reshape(samples, rows, -1, channels).swapaxes(0, 1)


def samples_at_once(size: Size, K: Array) -> int:
    """How many samples fit into WORKING_SET, at least one."""
    kernel_rows, columns, channels, filters = K.shape
    scheme = row_scheme(size.rows, kernel_rows, columns, channels)
    slabs = scheme.depth * scheme.tiles * (scheme.slab_channels(channels) + filters)
    images = scheme.input_rows * channels + scheme.output_rows * filters
    return max(1, WORKING_SET // ((slabs + images) * size.pitch * K.itemsize))
