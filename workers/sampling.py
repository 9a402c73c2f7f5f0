"""Which rows a step reads: a function of (seed, epoch, step) alone, whoever asks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sumgrad.layers.base.random_streams import ORDER_STREAM, generator

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Sampling:
    """Each epoch visits every training row once, in an order of its own.

    Attributes:
        rows: training rows.
        batch_size: rows of a step; the last step of an epoch takes what is left.
        shards: pieces that a step's rows are cut into.
    """

    seed: int
    rows: int
    batch_size: int
    shards: int

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.rows / self.batch_size)

    def step_rows(self, step: int) -> Rows:
        """Row numbers of a step, counted from 0 over the whole run."""
        epoch, index = divmod(step, self.steps_per_epoch)
        order = _order(self.seed, epoch, self.rows)
        return order[index * self.batch_size : (index + 1) * self.batch_size]

    def shard_rows(self, step: int) -> list[Rows]:
        """A step's rows cut in order into ``shards`` pieces whose lengths differ by at most 1."""
        return np.array_split(self.step_rows(step), self.shards)


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, rows: int) -> Rows:
    order = generator(seed, ORDER_STREAM, epoch).permutation(rows)
    order.flags.writeable = False
    return order


def default_shards(batch_size: int) -> int:
    """A power of two that keeps shards at 64 rows or more, with 2 to 8 of them where it can."""
    wanted = max(2, min(8, batch_size // 64))
    return min(1 << wanted.bit_length() - 1, batch_size)
