"""What every update rule is: two pure functions over the flat vector."""

from __future__ import annotations

from typing import Protocol

from layers.arrays import Array

State = dict[str, Array]


class UpdateRule(Protocol):
    """W ← W − step(∂Obj/∂W), element by element.

    A frozen dataclass of hyper-parameters. Because no element depends on another, the vector may
    be updated in blocks and in any order without a change of bits.
    """

    def init(self, size: int) -> State:
        """State vectors of this length, as they are before the first step."""
        ...

    def update(self, weights: Array, gradient: Array, state: State) -> None:
        """Apply one step in place. The gradient's memory is used for the intermediate result."""
        ...
