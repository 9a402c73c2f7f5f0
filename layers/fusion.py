"""Layers that follow one another as fewer layers, with the same results.

A ReLU behind an affine layer or a convolution becomes part of it. Max pooling goes before a ReLU,
which then has fewer elements to look at: max(0, ·) keeps order, so the largest element of a block
is the same one, and where it is not positive the ReLU lets no feedback through in either order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import NamedTuple

from layers.affine import Affine
from layers.affine_relu import AffineReLU
from layers.convolution import Convolution
from layers.convolution_relu import ConvolutionReLU
from layers.layer import Layer
from layers.max_pool import MaxPool
from layers.relu import ReLU


class Stage(NamedTuple):
    """A layer as it is run, and the number of the network's layer whose parameters it takes."""

    layer: Layer
    number: int


def fused(layers: Sequence[Layer]) -> list[Stage]:
    """The stages that a network of these layers runs."""
    stages: list[Stage] = []
    for index, layer in enumerate(layers):
        stages.append(Stage(layer, index))
        _split_before_pool(stages)
        _join_relu(stages)
    return stages


_WITH_RELU: dict[type[Layer], type[Layer]] = {Affine: AffineReLU, Convolution: ConvolutionReLU}
_WITHOUT_RELU: dict[type[Layer], type[Layer]] = {ConvolutionReLU: Convolution}


def _join_relu(stages: list[Stage]) -> None:
    """X, ReLU → XReLU."""
    if len(stages) > 1 and isinstance(stages[-1].layer, ReLU):
        before = stages[-2]
        kind = _WITH_RELU.get(type(before.layer))
        if kind is not None:
            stages[-2:] = [Stage(_as(kind, before.layer), before.number)]


def _split_before_pool(stages: list[Stage]) -> None:
    """ReLU, MaxPool → MaxPool, ReLU, also where the ReLU is part of a convolution."""
    if len(stages) < 2 or not isinstance(stages[-1].layer, MaxPool):
        return
    before, pool = stages[-2:]
    kind = _WITHOUT_RELU.get(type(before.layer))
    if kind is not None:
        plain = Stage(_as(kind, before.layer), before.number)
        stages[-2:] = [plain, pool, Stage(ReLU(), before.number)]
    elif isinstance(before.layer, ReLU):
        stages[-2:] = [pool, before]


def _as(kind: type[Layer], layer: Layer) -> Layer:
    """The same hyper-parameters in another type of layer."""
    values = {field.name: getattr(layer, field.name) for field in fields(layer)}  # type: ignore[arg-type]
    return kind(**values)
