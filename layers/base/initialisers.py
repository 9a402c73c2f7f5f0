"""Initial values of weights, drawn from an explicit generator."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import numpy as np

from sumgrad.layers.base.arrays import Array

Initialiser = Literal["he", "glorot", "normal", "zeros"]

INITIALISERS: tuple[str, ...] = get_args(Initialiser)


class Fans(NamedTuple):
    """How many inputs one output sums over, and how many outputs one input feeds."""

    fan_in: int
    fan_out: int


def fans(inputs: int, outputs: int, window: int = 1) -> Fans:
    """The fans of a map from ``inputs`` to ``outputs`` channels.

    Args:
        window: positions that an output sums over; the kernel's area for a convolution.
    """
    return Fans(window * inputs, window * outputs)


def initialise(
    kind: Initialiser, std: float, rng: np.random.Generator, W: Array, fan_in: int, fan_out: int
) -> None:
    """Fill W by the initialiser of that name.

    Args:
        std: the standard deviation of "normal"; the others follow from the fans.
    """
    match kind:
        case "he":
            he(rng, W, fan_in)
        case "glorot":
            glorot(rng, W, fan_in, fan_out)
        case "normal":
            normal(rng, W, std)
        case "zeros":
            W[...] = 0


def he(rng: np.random.Generator, W: Array, fan_in: int) -> None:
    """Fill W with N(0, 2 / fan_in), which keeps the signal's size through ReLU layers.

    Source: He et al. 2015, "Delving deep into rectifiers", equation 10.
    """
    normal(rng, W, math.sqrt(2 / fan_in))


def glorot(rng: np.random.Generator, W: Array, fan_in: int, fan_out: int) -> None:
    """Fill W with N(0, 2 / (fan_in + fan_out)), a compromise between signal and feedback.

    Source: Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward
    neural networks", equation 12; as a normal distribution.
    """
    normal(rng, W, math.sqrt(2 / (fan_in + fan_out)))


def normal(rng: np.random.Generator, W: Array, std: float) -> None:
    """Fill W with N(0, std²)."""
    W[...] = rng.standard_normal(W.shape, dtype=W.dtype)
    W *= std
