"""The fixed binary tree over shard numbers along which gradients are added.

Floating-point addition is not associative, so which sums are formed must not depend on who
forms them. A node is an aligned block of 2^l shard numbers, and its sum is (left half) + (right
half), always. Any range of shards is a few whole nodes; whoever has a node's halves adds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Node(NamedTuple):
    """The shards [begin, begin + size); size is a power of two that divides begin."""

    begin: int
    size: int

    @property
    def left(self) -> Node:
        return Node(self.begin, self.size // 2)

    @property
    def right(self) -> Node:
        return Node(self.begin + self.size // 2, self.size // 2)


def cover(begin: int, end: int) -> list[Node]:
    """The fewest nodes that make up the shards [begin, end), in order."""
    nodes = []
    while begin < end:
        aligned = begin & -begin or 1 << (end - begin).bit_length()
        size = min(aligned, 1 << (end - begin).bit_length() - 1)
        nodes.append(Node(begin, size))
        begin += size
    return nodes


def additions(nodes: Sequence[Node], shards: int) -> list[tuple[int, int]]:
    """The additions that finish the tree over [0, shards) from the given nodes' sums.

    Args:
        nodes: disjoint nodes that together cover [0, shards), in any order.

    Returns:
        Pairs (i, j) of positions in ``nodes``, meaning "add sum j into sum i", to be done in
        order; the whole sum is then in the position of the node that begins at 0. A right half
        that lies wholly beyond the last shard is left out.
    """
    position = {node: i for i, node in enumerate(nodes)}
    steps: list[tuple[int, int]] = []

    def finish(node: Node) -> int:
        if node in position:
            return position[node]
        left = finish(node.left)
        if node.right.begin < shards:
            steps.append((left, finish(node.right)))
        return left

    finish(Node(0, 1 << (shards - 1).bit_length()))
    return steps
