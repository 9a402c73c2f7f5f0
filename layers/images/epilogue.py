"""Epilogues: work on a convolution's output while it is in the caches, and its way back.

Arrays: images (rows, samples, pitch, channels), of which the first rows and columns are wanted, and
y (samples, rows, columns, channels).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from sumgrad.layers.base.arrays import Array
from sumgrad.layers.base.context import Context
from sumgrad.layers.images.correlation import output_images
from sumgrad.layers.images.correlation.phases import Size
from sumgrad.layers.images.max_pool import MaxPool, Winners
from sumgrad.layers.relu import masked, rectified


class Epilogue(Protocol):
    """The epilogue of one pass over a batch, part by part.

    Attributes:
        y: the layer's output, of the whole batch.
    """

    y: Array

    def images(self, part: slice) -> Array:
        """Memory for the convolution's output of these samples."""
        ...

    def finish(self, images: Array, part: slice) -> None:
        """Fill these samples of ``y``."""
        ...

    def feedback(self, dy: Array, part: slice, out: Array) -> None:
        """Turn the feedback of these samples of ``y`` into that of the convolution's output."""
        ...


MakeEpilogue = Callable[[Size, Array, int, Context], Epilogue]
"""From the correlation's size, its kernel, the rows of a batch and the layer's context."""


class Nothing:
    """No epilogue: the images are y."""

    def __init__(self, size: Size, K: Array, rows: int, context: Context) -> None:
        self._images = output_images(size, K, rows, context)
        self.y = wanted(self._images, size)

    def images(self, part: slice) -> Array:
        return self._images[:, part]

    def finish(self, images: Array, part: slice) -> None:
        pass

    def feedback(self, dy: Array, part: slice, out: Array) -> None:
        np.copyto(out, dy)


class Rectification(Nothing):
    """ReLU, in place."""

    def __init__(self, size: Size, K: Array, rows: int, context: Context) -> None:
        super().__init__(size, K, rows, context)
        self._scratch = context.scratch

    def finish(self, images: Array, part: slice) -> None:
        rectified(images, out=images)

    def feedback(self, dy: Array, part: slice, out: Array) -> None:
        masked(dy, self.y[part], self._scratch, out=out)


class Pooling:
    """Max pooling; the images lie in scratch memory and are gone after it."""

    def __init__(self, pool: MaxPool, size: Size, K: Array, rows: int, context: Context) -> None:
        self._pool, self._size, self._K, self._context = pool, size, K, context
        self._winners: dict[int, Winners] = {}
        pooled = pool.shapes((size.rows, size.columns, K.shape[3])).output
        self.y = context.empty("y", (rows, *pooled), K.dtype)

    def images(self, part: slice) -> Array:
        samples = part.stop - part.start
        return output_images(self._size, self._K, samples, self._context.scratch)

    def finish(self, images: Array, part: slice) -> None:
        context = self._context.part(part.start)
        y, self._winners[part.start] = self._pool.reduce(wanted(images, self._size), context)
        self.y[part] = y

    def feedback(self, dy: Array, part: slice, out: Array) -> None:
        self._pool.spread(dy, self._winners[part.start], out, self._context)


def wanted(images: Array, size: Size) -> Array:
    """(samples, rows, columns, channels) of (rows, samples, pitch, channels)."""
    return images[: size.rows, :, : size.columns].swapaxes(0, 1)
