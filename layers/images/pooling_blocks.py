"""The blocks that pooling layers cut images into, and the check that they fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from sumgrad.layers.base.arrays import Array, Params, Shape
from sumgrad.layers.base.context import Context
from sumgrad.layers.base.hyperparameters import (
    Pair,
    ShapeError,
    as_pair,
    one_of,
    pair_at_least,
    require,
)
from sumgrad.layers.base.layer import Shapes

Ragged = Literal["error", "drop"]


@dataclass(frozen=True)
class PoolingBlocks:
    """The base of max and mean pooling: a sample (height × width × channels) in blocks.

    ``size`` is one number for both axes or (vertical, horizontal). Blocks do not overlap. Where
    they do not fill the image, ``ragged`` says whether that is an error or what is left at the
    lower and right edge is dropped. No parameters.
    """

    size: Pair
    ragged: Ragged = "error"

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", as_pair(self.size))
        require(self, size=pair_at_least(1), ragged=one_of(*get_args(Ragged)))

    def shapes(self, input_shape: Shape) -> Shapes:
        if len(input_shape) != 3:
            raise ShapeError(
                f"pooling needs samples of height × width × channels, but gets {input_shape}"
            )
        height, width, channels = input_shape
        rows, columns = as_pair(self.size)
        if height < rows or width < columns:
            raise ShapeError(
                f"blocks of {rows} × {columns} are larger than the {height} × {width} that come in"
            )
        if self.ragged == "error" and (height % rows or width % columns):
            raise ShapeError(
                f"blocks of {rows} × {columns} do not fill the {height} × {width} that come in; "
                'choose another size, or ragged = "drop" to leave the rest out'
            )
        return Shapes({}, (height // rows, width // columns, channels))

    def init(self, rng: np.random.Generator, params: Params) -> None:
        pass

    def whole_blocks(self, x: Array) -> Array:
        """x, or dx, without the ragged edges."""
        rows, columns = as_pair(self.size)
        height, width = x.shape[1] // rows * rows, x.shape[2] // columns * columns
        return x[:, :height, :width]

    def positions_apart(self, x: Array, context: Context) -> list[Array]:
        """Copies of all blocks' first positions, of their second positions, and so on.

        In row-major order. Work on them runs through long stretches of memory; NumPy's inner
        loops over the few channels of every second column take several times as long.
        """
        apart = self.positions_like(x, context)
        for copy, position in zip(apart, self._positions(x), strict=True):
            _copy(position, copy)
        return apart

    def positions_like(self, x: Array, context: Context) -> list[Array]:
        """Memory for ``positions_apart``."""
        return [
            context.empty_like(f"position {i}", x, position.shape)
            for i, position in enumerate(self._positions(x))
        ]

    def put_positions(self, apart: list[Array], x: Array) -> None:
        """Write them back into the whole blocks of x."""
        for copy, position in zip(apart, self._positions(x), strict=True):
            _copy(copy, position)

    def _positions(self, x: Array) -> list[Array]:
        rows, columns = as_pair(self.size)
        whole = self.whole_blocks(x)
        return [whole[:, i::rows, j::columns] for i in range(rows) for j in range(columns)]


def _copy(source: Array, target: Array) -> None:
    """Copy positions as whole items where their channels lie side by side: NumPy's loop over the
    channels of one position costs more than the position itself."""
    channels = np.dtype((np.void, source.shape[-1] * source.itemsize))
    if source.strides[-1] == target.strides[-1] == source.itemsize:
        np.copyto(target.view(channels), source.view(channels))
    else:
        np.copyto(target, source)
