"""The gradient check as an assertion, for functions whose kinks the test keeps away from."""

from collections.abc import Callable

import numpy as np

from sumgrad.layers.base.arrays import Array
from sumgrad.layers.derivatives.gradient_check import TOLERANCE, compare

KINK_DISTANCE = 1e-3
"""Points this far from a kink are not carried across it by a step of the check."""


def assert_gradient(
    function: Callable[[Array], float], point: Array, gradient: Array, directions: int = 5
) -> None:
    """Fail unless ``gradient`` is the function's at ``point``, a float64 array."""
    assert point.dtype == gradient.dtype == np.float64
    assert point.shape == gradient.shape
    rng = np.random.default_rng(20)
    worst = max(compare(function, point, gradient, rng).error for _ in range(directions))
    assert worst <= TOLERANCE, f"the gradient is off by a relative {worst:.1e}"
