"""Initial values of weights, drawn from an explicit generator."""

from __future__ import annotations

import math

import numpy as np

from layers.arrays import Array


def he(rng: np.random.Generator, W: Array, fan_in: int) -> None:
    """Fill W with N(0, 2 / fan_in), which keeps the signal's size through ReLU layers.

    Source: He et al. 2015, "Delving deep into rectifiers", equation 10.
    """
    W[...] = rng.standard_normal(W.shape, dtype=W.dtype)
    W *= math.sqrt(2 / fan_in)
