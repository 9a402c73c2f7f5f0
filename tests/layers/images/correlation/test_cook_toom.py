"""Cook–Toom matrices: right for every input, and as few products as promised."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from sumgrad.layers.base.arrays import Array
from sumgrad.layers.images.correlation.cook_toom import MAX_PRODUCTS, POINTS, cook_toom

SIZES = [(m, r) for m in range(1, MAX_PRODUCTS + 1) for r in range(1, MAX_PRODUCTS + 2 - m)]

every_size = pytest.mark.parametrize(("m", "r"), SIZES)
every_fast_size = pytest.mark.parametrize(("m", "r"), [size for size in SIZES if size[0] > 1])


def exactly(matrix: Array) -> list[list[Fraction]]:
    """The simple fractions that the floats stand for."""
    rows = [[Fraction(value).limit_denominator(100_000) for value in row] for row in matrix]
    np.testing.assert_array_equal(np.array(rows, np.float64), matrix)
    return rows


@every_size
def test_every_tap_and_input_meet_in_the_right_output_alone(m: int, r: int) -> None:
    """The algorithm is bilinear: right for unit vectors, it is right for all numbers."""
    AT, G, BT = map(exactly, cook_toom(m, r))
    products = range(len(G))
    for u in range(m):
        for i in range(r):
            for at in range(m + r - 1):
                met = sum(AT[u][n] * G[n][i] * BT[n][at] for n in products)
                assert met == (at == u + i), (u, i, at)


@every_size
def test_whole_numbers_are_correlated_to_the_last_digit(m: int, r: int) -> None:
    rng = np.random.default_rng(m * 10 + r)
    AT, G, BT = map(exactly, cook_toom(m, r))
    taps, inputs = (rng.integers(-9, 10, size).tolist() for size in (r, m + r - 1))
    expected = [sum(inputs[u + i] * taps[i] for i in range(r)) for u in range(m)]
    transformed = [sum(a * b for a, b in zip(row, taps, strict=True)) for row in G]
    seen = [sum(a * b for a, b in zip(row, inputs, strict=True)) for row in BT]
    products = [a * b for a, b in zip(transformed, seen, strict=True)]
    assert [sum(a * p for a, p in zip(row, products, strict=True)) for row in AT] == expected


@every_size
def test_there_is_one_product_an_input(m: int, r: int) -> None:
    n = m + r - 1
    AT, G, BT = cook_toom(m, r)
    assert (AT.shape, G.shape, BT.shape) == ((m, n), (n, r), (n, n))


@every_fast_size
def test_outputs_are_put_together_by_powers_of_the_points_and_infinity(m: int, r: int) -> None:
    AT, _, _ = cook_toom(m, r)
    for u in range(m):
        powers = [float(point**u) for point in POINTS[: m + r - 2]]
        assert AT[u].tolist() == [*powers, float(u == m - 1)]


@every_size
def test_the_input_is_transformed_by_whole_numbers(m: int, r: int) -> None:
    BT = cook_toom(m, r).BT
    np.testing.assert_array_equal(BT, BT.round())


@pytest.mark.parametrize("r", [1, 3, MAX_PRODUCTS + 5])
def test_for_one_output_the_products_are_the_plain_ones(r: int) -> None:
    AT, G, BT = cook_toom(1, r)
    np.testing.assert_array_equal(AT, np.ones((1, r)))
    np.testing.assert_array_equal(G, np.eye(r))
    np.testing.assert_array_equal(BT, np.eye(r))


def test_no_point_is_used_twice() -> None:
    assert len(set(POINTS)) == len(POINTS) == MAX_PRODUCTS - 1
