"""The matrices of fast short correlations, F(m, r): m outputs of r taps by m + r − 1 products.

y = Aᵀ [(G g) ⊙ (Bᵀ d)] for m + r − 1 inputs d and r taps g gives y_u = Σ_i d_{u+i} g_i.

Source: the Toom–Cook algorithm, transposed (Winograd 1980, "Arithmetic complexity of
computations"; Lavin and Gray 2016, "Fast algorithms for convolutional neural networks").
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import lcm
from typing import NamedTuple

import numpy as np

from sumgrad.layers.base.arrays import Array

POINTS = [Fraction(p) for p in ("0", "1", "-1", "2", "-2", "1/2", "-1/2")]
"""Where polynomials are evaluated, besides infinity, the mildest first. A float32 result over all
of them is 2 to 3 times as far from the exact one as a plain sum's
(docs/decisions/layers.md#cooktoom-over-eight-points-at-most)."""

MAX_PRODUCTS = len(POINTS) + 1
"""Products of the largest algorithm, so bound of m + r − 1."""

Matrix = list[list[Fraction]]


class CookToom(NamedTuple):
    """Aᵀ (m × n), G (n × r) and Bᵀ (n × n), with n = m + r − 1 products."""

    AT: Array
    G: Array
    BT: Array


@lru_cache
def cook_toom(m: int, r: int) -> CookToom:
    """F(m, r) in float64, exact to the last bit of it; m + r − 1 ≤ MAX_PRODUCTS.

    Where m is 1, nothing can be saved, and the products are the plain ones.
    """
    if m == 1:
        return CookToom(np.ones((1, r)), np.eye(r), np.eye(r))
    n = m + r - 1
    BT = _transposed(_inverse(_powers(n, n)))
    G = _powers(n, r)
    for row, taps in zip(BT, G, strict=True):
        # Whole numbers in Bᵀ: the kernel is transformed once, the input all the time.
        scale = lcm(*(value.denominator for value in row))
        row[:] = [value * scale for value in row]
        taps[:] = [value / scale for value in taps]
    return CookToom(_floats(_transposed(_powers(n, m))), _floats(G), _floats(BT))


def _powers(n: int, degree: int) -> Matrix:
    """A polynomial's values at n points, the last one infinity, from its coefficients."""
    finite = [[point**power for power in range(degree)] for point in POINTS[: n - 1]]
    return [*finite, [Fraction(power == degree - 1) for power in range(degree)]]


def _inverse(matrix: Matrix) -> Matrix:
    """By elimination, exactly."""
    n = len(matrix)
    rows = [row + [Fraction(i == j) for j in range(n)] for i, row in enumerate(matrix)]
    for column in range(n):
        pivot = next(i for i in range(column, n) if rows[i][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [value / rows[column][column] for value in rows[column]]
        for i in range(n):
            if i != column:
                factor = rows[i][column]
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[column], strict=True)]
    return [row[n:] for row in rows]


def _transposed(matrix: Matrix) -> Matrix:
    return [list(column) for column in zip(*matrix, strict=True)]


def _floats(matrix: Matrix) -> Array:
    return np.array(matrix, dtype=np.float64)
