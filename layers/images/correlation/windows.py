"""All windows of k neighbouring positions as matrices, without a copy.

Positions lie one after the other, C channels each, so a window is k·C numbers in a row. Windows
0, k, 2k, … do not overlap: one after the other they are the memory itself, read as a matrix with
rows of k·C. Windows 1, k + 1, … are the same from position 1 on, and so on; k matrices hold all.
"""

from __future__ import annotations

from numpy.lib.stride_tricks import as_strided

from sumgrad.layers.base.arrays import Array


def padded_positions(positions: int, k: int) -> int:
    """Positions that memory needs so that every window of the matrices lies in it."""
    return windows_a_matrix(positions, k) * k + k - 1


def windows_a_matrix(positions: int, k: int) -> int:
    return -(-positions // k)


def windows(slabs: Array, positions: int, k: int) -> Array:
    """(n, k, windows, k·C): windows of each slab, by their first position modulo k.

    Args:
        slabs: (n, padded_positions, C), contiguous.
        positions: windows wanted; a few more are there.
    """
    n, _, channels = slabs.shape
    slab, position, channel = slabs.strides
    return as_strided(
        slabs,
        (n, k, windows_a_matrix(positions, k), k * channels),
        (slab, position, k * position, channel),
    )


def by_window(slabs: Array, positions: int, k: int) -> Array:
    """(n, k, windows, C): one vector a window, in the order in which ``windows`` has them.

    Args:
        slabs: (n, at least windows_a_matrix·k, C), one vector a position.
    """
    n, _, channels = slabs.shape
    slab, position, channel = slabs.strides
    return as_strided(
        slabs,
        (n, k, windows_a_matrix(positions, k), channels),
        (slab, position, k * position, channel),
    )
