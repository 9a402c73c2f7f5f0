"""Windows of neighbouring positions as matrices: what they hold, and that nothing is copied."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.array_utils import byte_bounds
from numpy.lib.stride_tricks import sliding_window_view

from sumgrad.layers.images.correlation.windows import (
    by_window,
    padded_positions,
    windows,
    windows_a_matrix,
)

from support.gradient_check import Array

slabs_and_channels = st.tuples(st.integers(1, 3), st.integers(1, 4))
positions_wanted = st.integers(1, 40)
window_lengths = st.integers(1, 9)


def numbered(n: int, positions: int, channels: int) -> Array:
    """Slabs in which no number is there twice."""
    return np.arange(n * positions * channels, dtype=np.float64).reshape(n, positions, channels)


@pytest.mark.slow
@given(slabs_and_channels, positions_wanted, window_lengths)
def test_windows_are_those_that_slide_over_the_positions(
    sizes: tuple[int, int], positions: int, k: int
) -> None:
    n, channels = sizes
    slabs = numbered(n, padded_positions(positions, k), channels)
    found = windows(slabs, positions, k)
    assert found.shape == (n, k, windows_a_matrix(positions, k), k * channels)
    sliding = sliding_window_view(slabs, k, axis=1).swapaxes(2, 3).reshape(n, -1, k * channels)
    for first in range(k):
        np.testing.assert_array_equal(found[:, first], sliding[:, first::k])


@given(slabs_and_channels, positions_wanted, window_lengths)
def test_windows_are_views_of_just_the_memory_that_they_ask_for(
    sizes: tuple[int, int], positions: int, k: int
) -> None:
    n, channels = sizes
    slabs = numbered(n, padded_positions(positions, k), channels)
    assert byte_bounds(windows(slabs, positions, k)) == byte_bounds(slabs)


@pytest.mark.slow
@given(slabs_and_channels, positions_wanted, window_lengths)
def test_one_vector_a_window_lies_where_its_window_begins(
    sizes: tuple[int, int], positions: int, k: int
) -> None:
    n, channels = sizes
    count = windows_a_matrix(positions, k)
    slabs = np.full((n, count * k, channels), np.nan)
    vectors = by_window(slabs, positions, k)
    assert vectors.shape == (n, k, count, channels)
    for first in range(k):
        for window in range(count):
            vectors[:, first, window] = first + window * k
    np.testing.assert_array_equal(
        slabs, np.broadcast_to(np.arange(count * k)[:, np.newaxis], slabs.shape)
    )


@pytest.mark.slow
@given(slabs_and_channels, positions_wanted, window_lengths)
def test_products_of_windows_come_out_in_order(
    sizes: tuple[int, int], positions: int, k: int
) -> None:
    n, channels = sizes
    slabs = numbered(n, padded_positions(positions, k), channels)
    kernel = np.random.default_rng(k).standard_normal((k, channels, 2))
    products = np.empty((n, windows_a_matrix(positions, k) * k, 2))
    np.matmul(
        windows(slabs, positions, k),
        kernel.reshape(k * channels, 2),
        out=by_window(products, positions, k),
    )
    for position in range(positions):
        window = slabs[:, position : position + k]
        expected = np.einsum("nkc,kco->no", window, kernel)
        np.testing.assert_allclose(products[:, position], expected, rtol=1e-12, atol=1e-9)
