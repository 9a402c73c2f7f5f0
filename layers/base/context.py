"""The context of a pass: the key of its random numbers, and the memory that it may use.

A layer never allocates a large array. It asks its context for one, and the caller of the pass
decides whether that is new memory or memory of the pass before.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable

import numpy as np
from numpy.typing import DTypeLike

from sumgrad.layers.base.arrays import Array, Shape

ALIGNMENT = 64
"""In bytes: a cache line, and the widest vector registers."""

_SCRATCH = -1
"""The owner of memory that all layers share."""

Key = tuple[int, ...]

Owner = Hashable


class Workspace:
    """Memory for passes that follow one another; each name holds one array at a time.

    An array is valid until its name is asked for again, so a pass, forward and backward, must be
    over before the next one begins. Memory grows to the largest array that a name has held.
    """

    def __init__(self) -> None:
        self._memory: dict[tuple[Owner, str], Array] = {}

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(self.nbytes_by_name.values())

    @property
    def nbytes_by_name(self) -> Counter[str]:
        """Bytes held under each name, by all owners."""
        held: Counter[str] = Counter()
        for (_, name), memory in self._memory.items():
            held[name] += memory.nbytes
        return held

    def empty(self, owner: Owner, name: str, shape: Shape, dtype: DTypeLike) -> Array:
        """An uninitialised array in the memory of (owner, name)."""
        dtype = np.dtype(dtype)
        nbytes = math.prod(shape) * dtype.itemsize
        memory = self._memory.get((owner, name))
        if memory is None or memory.nbytes < nbytes:
            memory = self._memory[owner, name] = _aligned(nbytes)
        return memory[:nbytes].view(dtype).reshape(shape)


class Context:
    """The context of one layer in one pass.

    Args:
        key: numbers that the layer's random draws follow from; None when evaluating, where
            nothing is random.
        workspace: where arrays come from; None makes new ones.
        owner: who the layer is in the workspace.
    """

    __slots__ = ("_owner", "_workspace", "key")

    def __init__(
        self, key: Key | None = None, workspace: Workspace | None = None, owner: Owner = 0
    ) -> None:
        self.key = key
        self._workspace = workspace
        self._owner = owner

    @property
    def scratch(self) -> Context:
        """A context for arrays that forward, or backward, needs only until it returns.

        All layers share this memory, so it stays in the caches.
        """
        return Context(self.key, self._workspace, _SCRATCH)

    def part(self, number: int) -> Context:
        """A context for the arrays of one of the parts that a layer cuts its batch into."""
        return Context(self.key, self._workspace, (self._owner, number))

    def empty(self, name: str, shape: Shape, dtype: DTypeLike) -> Array:
        """An uninitialised array; a pass gives arrays that it needs together different names."""
        if self._workspace is None:
            return np.empty(shape, dtype)
        return self._workspace.empty(self._owner, name, shape, dtype)

    def empty_like(
        self, name: str, array: Array, shape: Shape | None = None, dtype: DTypeLike | None = None
    ) -> Array:
        """As ``empty``, with the order of axes in memory that ``array`` has.

        Element-wise work over arrays of one order runs through memory in one direction.
        """
        shape = array.shape if shape is None else shape
        dtype = array.dtype if dtype is None else dtype
        if array.flags.c_contiguous:
            return self.empty(name, shape, dtype)
        strides = array.strides
        order = sorted(range(array.ndim), key=lambda axis: -abs(strides[axis]))
        memory = self.empty(name, tuple(shape[axis] for axis in order), dtype)
        return memory.transpose([order.index(axis) for axis in range(len(order))])


EVALUATION = Context()
"""Nothing is random, and every array is new."""


def _aligned(nbytes: int) -> Array:
    memory = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + nbytes]
