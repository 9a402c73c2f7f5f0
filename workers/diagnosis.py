"""Where a shard's computation first meets a value that is not finite."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sumgrad.layers import LAYERS, Loss, Network
from sumgrad.layers.base.arrays import Array, Params
from sumgrad.layers.base.context import Key


def diagnose(
    network: Network, loss: Loss, weights: list[Params], x: Array, y: Array, key: Key
) -> str | None:
    """Follow a shard forward and backward, layer by layer.

    It costs as many forward passes as there are layers, so it is for a step that has failed.

    Args:
        weights: ``network.views`` of the weights.
        x, y: the shard's rows; at least one.
        key: as the shard's gradient was computed with.

    Returns:
        The first problem as a clause, such as "the gradient of layer 2 (affine) W is NaN",
        where layers count from 0 and, on the way back, the last one comes first; None where
        everything is finite.
    """
    return next(_problems(network, loss, weights, x, y, key), None)


def layer_name(network: Network, index: int) -> str:
    """For example ``layer 2 (affine)``."""
    kind = type(network.layers[index])
    return f"layer {index} ({next(name for name, row in LAYERS.items() if row is kind)})"


def problem(values: Array) -> str:
    """What is wrong with values that are not all finite."""
    return "is NaN" if np.isnan(values).any() else "is infinite"


def _problems(
    network: Network, loss: Loss, weights: list[Params], x: Array, y: Array, key: Key
) -> Iterator[str]:
    if not np.isfinite(x).all():
        yield f"the input {problem(x)}"
    for index in range(len(network.layers)):
        part = Network(network.layers[: index + 1], network.input_shape)
        output, _ = part.forward(weights, x, key)
        if not np.isfinite(output).all():
            yield f"the output of {layer_name(network, index)} {problem(output)}"
    scores, backward = network.forward(weights, x, key)
    value, dscores = loss.forward(scores, y)
    if not np.isfinite(value):
        yield f"the loss {problem(np.array(value))}"
    gradient = np.zeros(network.size, np.float32)
    views = network.views(gradient)
    backward(dscores, views)
    for index in reversed(range(len(views))):
        for name, values in views[index].items():
            if not np.isfinite(values).all():
                yield f"the gradient of {layer_name(network, index)} {name} {problem(values)}"
