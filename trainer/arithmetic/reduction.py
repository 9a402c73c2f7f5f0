"""From the workers' sums to the next weights: finish the tree, check, divide once, update.

The vector is processed in blocks that stay in cache, and a long vector in two threads: NumPy
releases the interpreter lock. Everything but the norm works element by element, and the norm sums
the blocks' squares exactly. The grid of blocks follows from the vector's length alone, so no bit
depends on the number of threads
(docs/decisions/arithmetic.md#the-grid-of-blocks-depends-on-the-vectors-length-alone).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import numpy as np

from sumgrad.layers.base.arrays import Array
from sumgrad.trainer.arithmetic.update_rules import Descent, State
from sumgrad.workers.summation_tree import Node, additions

BLOCK = 1 << 15
"""Elements of a block: five float32 vectors of it stay in a core's second-level cache."""

THREADED_SIZE = 1 << 18
"""Vectors from this length on are worth a second thread."""

T = TypeVar("T")


class Reduction:
    """The parameter server's arithmetic over vectors of one length."""

    def __init__(self, size: int) -> None:
        threads = min(2, os.cpu_count() or 1) if size >= THREADED_SIZE else 1
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None
        blocks = [slice(i, min(i + BLOCK, size)) for i in range(0, size, BLOCK)]
        cuts = [len(blocks) * i // threads for i in range(threads + 1)]
        self._parts = [blocks[begin:end] for begin, end in pairwise(cuts)]

    def total(self, nodes: Sequence[Node], sums: Sequence[Array], shards: int) -> Array | None:
        """Finish the fixed tree in place.

        Args:
            nodes: the nodes whose sums these are; together they cover [0, shards).
            sums: their vectors; used as memory for the partial sums.

        Returns:
            The vector among ``sums`` that holds the total, or None if it has a NaN or Inf.
        """
        steps = additions(nodes, shards)
        total = sums[[node.begin for node in nodes].index(0)]

        def add(block: slice) -> bool:
            for i, j in steps:
                sums[i][block] += sums[j][block]
            return bool(np.isfinite(total[block]).all())

        return total if all(self._each(add)) else None

    def norm(self, vector: Array) -> float:
        """The Euclidean norm of a vector of finite elements, in double precision."""

        def squares(block: slice) -> float:
            values = vector[block].astype(np.float64)
            return float(np.square(values, out=values).sum())

        return math.sqrt(math.fsum(self._each(squares)))

    def apply(
        self,
        descent: Descent,
        weights: Array,
        total: Array,
        rows: int,
        state: State,
        learning_rate: float,
        step: int,
        after_block: Callable[[], object] | None = None,
    ) -> None:
        """Divide the total by the rows of the batch, clip, decay, and update the weights.

        Args:
            total: of finite elements; its memory is used.
            learning_rate: λ of this step.
            step: number of this update, counted from 1.
            after_block: called after each updated block of the weights.
        """
        divisor, limit = np.float32(rows), descent.clip_value
        longest = descent.clip_norm
        norm = 0.0 if longest is None else self.norm(total) / rows

        def update(block: slice) -> None:
            gradient, part = total[block], weights[block]
            gradient /= divisor
            if longest is not None and norm > longest:
                gradient *= longest / norm
            if limit is not None:
                np.clip(gradient, -limit, limit, out=gradient)
            if descent.weight_decay:
                gradient += descent.weight_decay * part
            states = {name: vector[block] for name, vector in state.items()}
            descent.rule.update(part, gradient, states, learning_rate, step)
            if after_block is not None:
                after_block()

        self._each(update)

    def _each(self, work: Callable[[slice], T]) -> list[T]:
        """Call ``work`` for every block; this thread takes the first part."""
        if self._pool is None:
            return _all(work, self._parts[0])
        others = [self._pool.submit(_all, work, part) for part in self._parts[1:]]
        found = _all(work, self._parts[0])
        for other in others:
            found += other.result()
        return found

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()


def _all(work: Callable[[slice], T], blocks: Sequence[slice]) -> list[T]:
    return [work(block) for block in blocks]
