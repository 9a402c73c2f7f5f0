"""The gradient check: a derivative against differences, which know nothing of its algebra.

One random direction sees every element at once, so a check takes a handful of passes whatever
the size. See docs/mathematics.md#8-check-it-yourself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sumgrad.layers.base.arrays import Array

STEPS = (1e-5, 1e-6, 1e-7, 1e-8)
"""Mean distance that an element is moved. Long steps round less, short ones cross fewer kinks."""

TOLERANCE = 1e-6
"""Largest relative error of a correct gradient; docs/mathematics.md#8-check-it-yourself."""

AGREEMENT = 0.1
"""Differences that spread by more than this share of the error do not agree on a derivative."""

ROUNDING = 16 * float(np.finfo(np.float64).eps)
"""Relative error of a function's value; its terms are often larger than their sum."""


class Comparison(NamedTuple):
    """The outcome of one direction.

    Attributes:
        error: |difference − slope|, relative to the larger of the two and of the slope that is
            usual for a gradient of this length.
        kink: the error is large, but the differences on the two sides of the point, at the two
            shortest steps, contradict each other. The point lies at a kink and says nothing about
            the gradient.
    """

    error: float
    kink: bool


def compare(
    function: Callable[[Array], float], point: Array, gradient: Array, rng: np.random.Generator
) -> Comparison:
    """Compare a gradient with central differences along one random unit direction.

    A correct gradient agrees at some step unless a kink lies at the point itself. A wrong one
    agrees at none. Where the function is smooth, all short differences agree with each other, which
    distinguishes a mistake from a kink. Slopes too small to be seen beside the rounding of the
    function's values count as equal.

    Args:
        function: of a float64 array of the point's shape; always the same for the same array.
        point, gradient: float64 arrays of one shape.
    """
    direction = rng.standard_normal(point.shape)
    direction /= np.linalg.norm(direction) or 1.0
    slope = float(np.vdot(gradient, direction))
    usual = float(np.linalg.norm(gradient)) / math.sqrt(max(1, gradient.size))
    middle = function(point)
    errors, slopes, rounding = [], [], 0.0
    for step in STEPS:
        length = step * math.sqrt(max(1, point.size))
        above = function(point + length * direction)
        below = function(point - length * direction)
        difference = (above - below) / (2 * length)
        slopes += [(above - middle) / length, (middle - below) / length]
        # Not that of this step: the shortest would let pass what the longest can see.
        rounding = rounding or ROUNDING * max(abs(above), abs(below)) / length
        scale = max(abs(difference), abs(slope), usual, rounding / TOLERANCE)
        errors.append(abs(difference - slope) / scale if scale else 0.0)
        if not math.isfinite(errors[-1]):
            return Comparison(math.inf, kink=False)
        if errors[-1] <= TOLERANCE / 10:
            break
    error = min(errors)
    if error <= TOLERANCE:
        return Comparison(error, kink=False)
    shortest = slopes[-4:]
    spread = (max(shortest) - min(shortest)) / max(usual, *map(abs, shortest))
    return Comparison(error, kink=spread > AGREEMENT * error)
