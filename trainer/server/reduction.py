"""From the workers' sums to the next weights: finish the tree, check, divide once, update.

Everything here works element by element, so the vector is taken in blocks that stay in cache,
and long vectors in as many threads as there are idle cores: NumPy lets go of the interpreter
lock, and no order of blocks changes a bit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from layers.arrays import Array
from trainer.update_rules import State, UpdateRule
from workers.tree import Node, additions

BLOCK = 1 << 15
"""Elements of a block: five float32 vectors of it stay in a core's second-level cache."""

THREADED_SIZE = 1 << 18
"""Vectors from this length on are worth a second thread."""


class Reduction:
    """The parameter server's arithmetic over vectors of one length."""

    def __init__(self, size: int) -> None:
        threads = min(2, os.cpu_count() or 1) if size >= THREADED_SIZE else 1
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None
        cuts = [size * i // threads for i in range(threads + 1)]
        self._parts = [
            [slice(i, min(i + BLOCK, end)) for i in range(begin, end, BLOCK)]
            for begin, end in pairwise(cuts)
        ]

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

    def apply(
        self, rule: UpdateRule, weights: Array, total: Array, rows: int, state: State
    ) -> None:
        """Divide the total by the rows of the batch and let the rule update the weights."""
        divisor = np.float32(rows)

        def step(block: slice) -> bool:
            gradient = total[block]
            gradient /= divisor
            rule.update(weights[block], gradient, {name: s[block] for name, s in state.items()})
            return True

        self._each(step)

    def _each(self, work: Callable[[slice], bool]) -> list[bool]:
        """Do the work for every block; this thread takes the first part."""
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


def _all(work: Callable[[slice], bool], blocks: Sequence[slice]) -> list[bool]:
    return [work(block) for block in blocks]
