"""The fixed tree: whoever forms which part of the sum, the bits are those of one machine."""

from __future__ import annotations

import functools
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sumgrad.workers.summation_tree import Node, additions, cover

from support.gradient_check import Array

Cuts = list[tuple[int, int]]

shard_counts = st.integers(1, 40)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def splits(draw: st.DrawFn) -> tuple[int, Cuts]:
    """A number of shards, and ranges that partition them, in any order."""
    shards = draw(shard_counts)
    cuts = sorted({0, shards, *draw(st.lists(st.integers(0, shards), max_size=6))})
    return shards, draw(st.permutations(list(pairwise(cuts))))


def vectors(shards: int, seed: int, elements: int = 64) -> Array:
    """Float32 vectors whose elements differ by twelve orders of magnitude."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-6, 6, (shards, elements))
    return (rng.standard_normal((shards, elements)) * scale).astype(np.float32)


def node_sum(node: Node, leaves: Array) -> Array:
    """A node's sum, by the definition of the tree; shards beyond the last do not exist."""
    if node.size == 1:
        return leaves[node.begin].copy()
    left = node_sum(node.left, leaves)
    return left + node_sum(node.right, leaves) if node.right.begin < len(leaves) else left


def whole_sum(leaves: Array) -> Array:
    """The tree over all shards, as one machine would do it."""
    size = 1
    while size < len(leaves):
        size *= 2
    return node_sum(Node(0, size), leaves)


def sum_of_ranges(ranges: Cuts, leaves: Array) -> Array:
    """Every range summed by itself, then finished as the server does."""
    nodes = [node for begin, end in ranges for node in cover(begin, end)]
    sums = [node_sum(node, leaves) for node in nodes]
    for i, j in additions(nodes, len(leaves)):
        sums[i] += sums[j]
    return sums[nodes.index(min(nodes))]


def bits(array: Array) -> bytes:
    return array.tobytes()


@pytest.mark.slow
@settings(deadline=None)
@given(splits(), seeds)
def test_any_grouping_gives_the_same_bits(split: tuple[int, Cuts], seed: int) -> None:
    shards, ranges = split
    leaves = vectors(shards, seed)
    assert bits(sum_of_ranges(ranges, leaves)) == bits(whole_sum(leaves))


def test_without_the_tree_the_grouping_shows_in_the_bits() -> None:
    leaves = vectors(8, seed=1, elements=1000)

    def one_sum_a_range(*cuts: int) -> Array:
        parts = [sum(leaves[a:b]) for a, b in pairwise(cuts)]
        return functools.reduce(np.add, parts)

    one, two, three = (
        one_sum_a_range(0, 8),
        one_sum_a_range(0, 4, 8),
        one_sum_a_range(0, 2, 5, 8),
    )
    for first, second in ((one, two), (two, three), (one, three)):
        assert np.mean(first != second) > 0.05
    np.testing.assert_allclose(one, two, rtol=1e-2)


def test_the_sum_is_that_of_all_shards() -> None:
    leaves = np.arange(13, dtype=np.float32)[:, None]
    assert sum_of_ranges([(0, 5), (5, 6), (6, 13)], leaves)[0] == 78


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_a_cover_is_aligned_blocks_in_order_without_gaps(a: int, b: int) -> None:
    begin, end = sorted((a, b))
    at = begin
    for node in cover(begin, end):
        assert node.begin == at
        assert node.size.bit_count() == 1
        assert node.begin % node.size == 0
        at += node.size
    assert at == end


def test_no_smaller_cover_exists() -> None:
    @functools.cache
    def fewest(begin: int, end: int) -> int:
        if begin == end:
            return 0
        sizes = [1 << level for level in range(6) if begin % (1 << level) == 0]
        return 1 + min(fewest(begin + size, end) for size in sizes if begin + size <= end)

    for end in range(33):
        for begin in range(end + 1):
            assert len(cover(begin, end)) == fewest(begin, end)


@pytest.mark.parametrize(
    ("begin", "end", "nodes"),
    [
        (3, 3, []),
        (0, 8, [Node(0, 8)]),
        (4, 8, [Node(4, 4)]),
        (0, 7, [Node(0, 4), Node(4, 2), Node(6, 1)]),
        (3, 9, [Node(3, 1), Node(4, 4), Node(8, 1)]),
        (1, 2, [Node(1, 1)]),
    ],
)
def test_covers_by_hand(begin: int, end: int, nodes: list[Node]) -> None:
    assert cover(begin, end) == nodes


@pytest.mark.parametrize(
    ("nodes", "shards", "steps"),
    [
        ([Node(0, 1)], 1, []),
        ([Node(0, 8)], 8, []),
        ([Node(0, 4), Node(4, 4)], 8, [(0, 1)]),
        ([Node(4, 4), Node(0, 4)], 8, [(1, 0)]),
        ([Node(0, 1), Node(1, 1), Node(2, 2)], 4, [(0, 1), (0, 2)]),
        # (0 + 1) + (2), then + 4: the right halves beyond shard 4 do not exist.
        ([Node(0, 2), Node(2, 2), Node(4, 1)], 5, [(0, 1), (0, 2)]),
        ([Node(2, 1), Node(0, 2)], 3, [(1, 0)]),
    ],
)
def test_additions_by_hand(nodes: list[Node], shards: int, steps: list[tuple[int, int]]) -> None:
    assert additions(nodes, shards) == steps


@settings(deadline=None)
@given(splits())
def test_every_sum_but_the_first_is_added_once_and_not_touched_again(
    split: tuple[int, Cuts],
) -> None:
    shards, ranges = split
    nodes = [node for begin, end in ranges for node in cover(begin, end)]
    used: set[int] = set()
    for i, j in additions(nodes, shards):
        assert i not in used
        assert j not in used
        used.add(j)
    assert used == set(range(len(nodes))) - {nodes.index(min(nodes))}
