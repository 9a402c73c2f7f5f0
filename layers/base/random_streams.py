"""Streams of random numbers, one for each use of them.

A draw depends on seed, stream and numbers alone, not on the process or the order of drawing. All
streams of the project are listed here, so that no two share a number
(docs/decisions/arithmetic.md#every-use-of-random-numbers-has-its-own-stream).
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
