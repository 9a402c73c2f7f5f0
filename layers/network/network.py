"""A network: layers in sequence, every parameter a view of one flat vector."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from sumgrad.layers.base.arrays import Array, Params, Shape
from sumgrad.layers.base.context import Context, Key, Workspace
from sumgrad.layers.base.hyperparameters import ShapeError
from sumgrad.layers.base.layer import Backward, Layer, Shapes
from sumgrad.layers.base.random_streams import INIT_STREAM, generator
from sumgrad.layers.network.fusion import Stage, fused


class Slot(NamedTuple):
    """Where one parameter lies in the flat vector."""

    layer: int
    name: str
    offset: int
    shape: Shape


class LayerShapeError(ShapeError):
    """A layer does not fit the output of the one before it.

    Attributes:
        index: the layer's position in the network, from 0.
    """

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


@dataclass(frozen=True)
class Network:
    """X⁰ = x, Xⁱ = fⁱ(Xⁱ⁻¹; Wⁱ); the last one is the score.

    The network holds no arrays: weights and gradients are flat vectors that the caller owns,
    and ``views`` gives each layer its part of one.
    Source: docs/mathematics.md#3-networks-forward-backward-feedback.
    """

    layers: tuple[Layer, ...]
    input_shape: Shape

    @cached_property
    def shapes(self) -> tuple[Shapes, ...]:
        """Parameter and output shapes, layer by layer.

        Raises:
            LayerShapeError: a layer does not fit the one before it.
        """
        found: list[Shapes] = []
        shape = self.input_shape
        for index, layer in enumerate(self.layers):
            try:
                found.append(layer.shapes(shape))
            except ShapeError as error:
                raise LayerShapeError(index, str(error)) from None
            shape = found[-1].output
        return tuple(found)

    @cached_property
    def _stages(self) -> list[Stage]:
        return fused(self.layers)

    @cached_property
    def _first(self) -> int:
        """The first stage with parameters, below which δX is not needed; past the last if none."""
        with_parameters = {slot.layer for slot in self.slots}
        places = [p for p, stage in enumerate(self._stages) if stage.number in with_parameters]
        return min(places, default=len(self._stages))

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """The input shape of each layer."""
        return (self.input_shape, *(shapes.output for shapes in self.shapes))[: len(self.layers)]

    @property
    def output_shape(self) -> Shape:
        return self.shapes[-1].output if self.layers else self.input_shape

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """Every parameter's place in the flat vector, in order and without gaps."""
        slots: list[Slot] = []
        offset = 0
        for index, shapes in enumerate(self.shapes):
            for name, shape in shapes.params.items():
                slots.append(Slot(index, name, offset, shape))
                offset += math.prod(shape)
        return tuple(slots)

    @property
    def size(self) -> int:
        """Number of parameters, the length of the flat vector."""
        return sum(math.prod(slot.shape) for slot in self.slots)

    def views(self, flat: Array) -> list[Params]:
        """Each layer's parameters (or gradients) as views of a flat vector."""
        views: list[Params] = [{} for _ in self.layers]
        for slot in self.slots:
            part = flat[slot.offset : slot.offset + math.prod(slot.shape)]
            views[slot.layer][slot.name] = part.reshape(slot.shape)
        return views

    def init(self, seed: int, dtype: DTypeLike = np.float32) -> Array:
        """The initial flat vector; layer i draws from a generator keyed by (seed, i)."""
        flat = np.zeros(self.size, dtype)
        for index, (layer, params) in enumerate(zip(self.layers, self.views(flat), strict=True)):
            layer.init(generator(seed, INIT_STREAM, index), params)
        return flat

    def forward(
        self,
        params: list[Params],
        x: Array,
        key: Key | None = None,
        workspace: Workspace | None = None,
    ) -> tuple[Array, Callable[[Array, list[Params]], None]]:
        """Compute the scores of a batch, and the function that goes back through all layers.

        Args:
            params: ``views`` of the weights.
            x: (rows, *input_shape).
            key: when training, the numbers that random draws follow from, such as (seed, step,
                shard); layer i draws with (*key, i). None evaluates: nothing is random.
            workspace: memory that this pass may use; the scores lie there too. None makes new
                arrays.

        Returns:
            The scores (rows, *output_shape), and ``backward(ds, grads)``, which takes the
            feedback of the summed loss and writes the summed gradients into ``grads``,
            ``views`` of a vector of the caller's.
        """
        backwards: list[Backward] = []
        for place, (layer, number) in enumerate(self._stages):
            context = Context(None if key is None else (*key, number), workspace, place)
            x, layer_backward = layer.forward(params[number], x, context)
            backwards.append(layer_backward)

        def backward(ds: Array, grads: list[Params]) -> None:
            dy: Array | None = ds
            for place in range(len(backwards) - 1, self._first - 1, -1):
                assert dy is not None
                dy = backwards[place](dy, grads[self._stages[place].number], place > self._first)

        return x, backward
