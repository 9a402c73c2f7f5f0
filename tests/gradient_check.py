"""Central differences in float64: the oracle that knows nothing of a formula's algebra."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

STEP = 1e-5
TOLERANCE = 1e-6
"""Largest relative error of a right gradient; SPEC section 8."""

KINK_DISTANCE = 1e-3
"""Points this far from a kink are not carried across it by a step along a unit direction."""


def relative_error(
    function: Callable[[Array], float], point: Array, gradient: Array, rng: np.random.Generator
) -> float:
    """How far a gradient is from the central difference along one random unit direction."""
    direction = rng.standard_normal(point.shape)
    direction /= np.linalg.norm(direction)
    rise = function(point + STEP * direction) - function(point - STEP * direction)
    difference, slope = rise / (2 * STEP), float(np.vdot(gradient, direction))
    return abs(difference - slope) / max(abs(difference), abs(slope), 1e-12)


def assert_gradient(
    function: Callable[[Array], float], point: Array, gradient: Array, directions: int = 5
) -> None:
    """Fail unless ``gradient`` is the function's at ``point``, a float64 array."""
    assert point.dtype == gradient.dtype == np.float64
    assert point.shape == gradient.shape
    rng = np.random.default_rng(20)
    worst = max(relative_error(function, point, gradient, rng) for _ in range(directions))
    assert worst <= TOLERANCE, f"the gradient is off by a relative {worst:.1e}"
