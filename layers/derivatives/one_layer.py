"""A network as one layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sumgrad.layers.base.arrays import Array, Params, Shape
from sumgrad.layers.base.context import EVALUATION, Context
from sumgrad.layers.base.layer import Backward, Operations, Shapes
from sumgrad.layers.network.network import Network


@dataclass(frozen=True)
class OneLayer:
    """Layers in sequence as one layer, with a δX of its own.

    Source: docs/mathematics.md#3-networks-forward-backward-feedback.

    Parameters are named by the layer's number in the network: ``0.W``, ``0.b``, ``2.W``.
    """

    network: Network

    def shapes(self, input_shape: Shape) -> Shapes:
        inner = Network(self.network.layers, input_shape)
        params = {f"{slot.layer}.{slot.name}": slot.shape for slot in inner.slots}
        return Shapes(params, inner.output_shape)

    def operations(self, input_shape: Shape) -> Operations:
        forward = backward = 0
        inner = Network(self.network.layers, input_shape)
        for layer, shape in zip(inner.layers, inner.input_shapes, strict=True):
            operations = layer.operations(shape)
            forward += operations.forward
            backward += operations.backward
        return Operations(forward, backward)

    def init(self, rng: np.random.Generator, params: Params) -> None:
        for index, layer in enumerate(self.network.layers):
            layer.init(rng, _part(params, index))

    def forward(
        self, params: Params, x: Array, context: Context = EVALUATION
    ) -> tuple[Array, Backward]:
        """Every array is new; layer i draws with the context's key and i."""
        backwards = []
        for index, layer in enumerate(self.network.layers):
            inner = Context(None if context.key is None else (*context.key, index))
            x, layer_backward = layer.forward(_part(params, index), x, inner)
            backwards.append(layer_backward)

        def backward(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            for index in range(len(backwards) - 1, -1, -1):
                dx = backwards[index](dy, _part(grads, index))
                assert dx is not None
                dy = dx
            return dy if input_gradient else None

        return x, backward


def _part(params: Params, index: int) -> Params:
    """The parameters, or gradients, of one layer, by its own names for them."""
    prefix = f"{index}."
    return {
        name.removeprefix(prefix): value
        for name, value in params.items()
        if name.startswith(prefix)
    }
