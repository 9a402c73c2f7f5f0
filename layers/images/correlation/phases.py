"""Strided convolutions as correlations at stride 1.

A convolution at stride s is the sum, over p = 0 … s−1, of the correlation of every s-th line of
the input, from line p on, with every s-th line of the kernel, from line p on. These phases of the
two axes become channels: one correlation at stride 1 does them all, and backward with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sumgrad.layers.base.arrays import Array


class Phase(NamedTuple):
    """Every s-th line of an axis.

    Attributes:
        first: the first of them in the input.
        lead: lines of padding before it.
        length: how many there are.
    """

    first: int
    lead: int
    length: int


class Axis(NamedTuple):
    """One axis of a convolution: lines of the input and the kernel, stride and padding."""

    size: int
    kernel: int
    stride: int
    padding: int

    @property
    def output(self) -> int:
        """⌊(H + 2p − k) / s⌋ + 1."""
        return (self.size + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def taps(self) -> int:
        """Kernel lines of a phase."""
        return -(-self.kernel // self.stride)

    @property
    def phases(self) -> tuple[Phase, ...]:
        return _phases(self)

    @property
    def pitch(self) -> int:
        """Lines from one row to the next, such that no window sees two rows."""
        reach = self.output + self.taps - 1
        return max(
            max(self.output, reach - phase.lead, phase.lead + phase.length) for phase in self.phases
        )


@lru_cache
def _phases(axis: Axis) -> tuple[Phase, ...]:
    found = []
    for phase in range(min(axis.stride, axis.kernel)):
        lead = max(0, -(-(axis.padding - phase) // axis.stride))
        first = axis.stride * lead + phase - axis.padding
        there = -(-(axis.size - first) // axis.stride)
        length = max(0, min(there, axis.output + axis.taps - 1 - lead))
        found.append(Phase(first, lead, length))
    return tuple(found)


class Size(NamedTuple):
    """One sample's output rows and columns, and the positions from one row to the next.

    A row of x is followed by zeros, as many as the windows that begin in it reach beyond it.
    """

    rows: int
    columns: int
    pitch: int


class Plane(NamedTuple):
    """Both axes."""

    vertical: Axis
    horizontal: Axis

    @property
    def size(self) -> Size:
        return Size(self.vertical.output, self.horizontal.output, self.horizontal.pitch)

    @property
    def strided(self) -> bool:
        return self.vertical.stride > 1 or self.horizontal.stride > 1

    def by_phase(self, K: Array) -> Array:
        """The kernel (rows, columns, C, O) with its phases as channels, filled up with zeros."""
        if not self.strided:
            return K
        by_phase = np.zeros(self._by_phase_shape(K), K.dtype)
        for part, phase in self._kernels(K, by_phase):
            phase[...] = part
        return by_phase.reshape(*by_phase.shape[:2], -1, K.shape[3])

    def add_by_phase(self, gradient: Array, dK: Array) -> None:
        """Add the gradient of ``by_phase(K)`` to dK, without the zeros that fill it up."""
        for part, phase in self._kernels(dK, gradient.reshape(self._by_phase_shape(dK))):
            part += phase

    def pad(self, x: Array, padded: Array) -> None:
        """Write samples into (rows, samples, pitch, phases·C), where padding is 0 already."""
        for image, memory in self._images(x, padded):
            np.copyto(memory, image)

    def pad_adjoint(self, dpadded: Array, dx: Array) -> None:
        """Read the samples' gradient; lines that a stride leaves out are not written."""
        for image, memory in self._images(dx, dpadded):
            np.copyto(image, memory)

    def _by_phase_shape(self, K: Array) -> tuple[int, ...]:
        phases = (len(self.vertical.phases), len(self.horizontal.phases))
        return (self.vertical.taps, self.horizontal.taps, *phases, *K.shape[2:])

    def _kernels(self, K: Array, by_phase: Array) -> Iterator[tuple[Array, Array]]:
        """Views of the same elements in K and by phase."""
        for i in range(len(self.vertical.phases)):
            for j in range(len(self.horizontal.phases)):
                part = K[i :: self.vertical.stride, j :: self.horizontal.stride]
                yield part, by_phase[: part.shape[0], : part.shape[1], i, j]

    def _images(self, x: Array, padded: Array) -> Iterator[tuple[Array, Array]]:
        """Views of the same elements in images (samples, rows, columns, C) and in padded rows."""
        channels, at = x.shape[3], 0
        for v in self.vertical.phases:
            for h in self.horizontal.phases:
                lines = x[:, v.first :: self.vertical.stride, h.first :: self.horizontal.stride]
                rows, columns = slice(v.lead, v.lead + v.length), slice(h.lead, h.lead + h.length)
                memory = padded[rows, :, columns, at : at + channels].transpose(1, 0, 2, 3)
                yield lines[:, : v.length, : h.length], memory
                at += channels
