"""Streams of random numbers: every use of chance has a stream of its own.

Two draws are the same only if seed, stream and numbers are, whoever draws and in what order.
The streams of the whole project stand here, so that no two share a number.
"""

from __future__ import annotations

import numpy as np

INIT_STREAM = 0
"""Initial weights, by layer."""

ORDER_STREAM = 1
"""The order of the training rows, by epoch."""

DROPOUT_STREAM = 2
"""Which elements dropout keeps, by step, shard and layer."""


def generator(seed: int, stream: int, *numbers: int) -> np.random.Generator:
    """A generator for one use of a stream, at its first draw."""
    key = np.random.SeedSequence(seed, spawn_key=(stream, *numbers))
    return np.random.Generator(np.random.Philox(key))
