"""The logistic function φ, also called sigmoid. Used in docs/mathematics.md#7-losses."""

from __future__ import annotations

import numpy as np

from sumgrad.layers.base.arrays import Array


def logistic(x: Array, out: Array) -> Array:
    """φ(x) = 1 / (1 + e⁻ˣ), written into ``out``, which may be x itself.

    Exact to a few units in the last place in both tails, in the type of ``out``.
    """
    np.negative(x, out=out)
    # Where e⁻ˣ is infinite, its reciprocal is the right answer, 0.
    with np.errstate(over="ignore"):
        np.exp(out, out=out)
    out += 1
    return np.divide(1, out, out=out)
