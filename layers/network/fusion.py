"""Fusion: neighbouring layers as fewer layers with the same results.

A ReLU behind an affine layer, and a ReLU or max pooling behind a convolution, becomes part of it.
The values between them then never leave the caches. Max pooling goes before a ReLU, which then has
fewer elements to read: max(0, ·) keeps order, so the largest element of a block is the same one,
and where it is not positive the ReLU lets no feedback through in either order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from sumgrad.layers.affine import Affine
from sumgrad.layers.affine_relu import AffineReLU
from sumgrad.layers.base.layer import Layer
from sumgrad.layers.images.convolution import Convolution
from sumgrad.layers.images.convolution_max_pool import ConvolutionMaxPool
from sumgrad.layers.images.convolution_relu import ConvolutionReLU
from sumgrad.layers.images.max_pool import MaxPool
from sumgrad.layers.relu import ReLU


class Stage(NamedTuple):
    """A layer that is run, and the number of the network's layer whose parameters it takes."""

    layer: Layer
    number: int


def fused(layers: Sequence[Layer]) -> list[Stage]:
    """The stages that a network of these layers runs."""
    stages: list[Stage] = []
    for index, layer in enumerate(layers):
        stages.append(Stage(layer, index))
        if len(stages) > 1:
            stages[-2:] = _joined(*stages[-2:])
    return stages


def _joined(before: Stage, after: Stage) -> list[Stage]:
    """Two stages, fused or reordered where that has the same result, or as they are."""

    def stage(layer: Layer) -> Stage:
        return Stage(layer, before.number)

    match before.layer, after.layer:
        case Affine() as affine, ReLU() if type(affine) is Affine:
            return [stage(AffineReLU(**_fields(affine)))]
        case Convolution() as convolution, ReLU() if type(convolution) is Convolution:
            return [stage(ConvolutionReLU(**_fields(convolution)))]
        case ConvolutionReLU() as convolution, MaxPool() as pool:
            plain = Convolution(**_fields(convolution))
            return [stage(ConvolutionMaxPool(plain, pool)), stage(ReLU())]
        case Convolution() as convolution, MaxPool() as pool:
            return [stage(ConvolutionMaxPool(convolution, pool))]
        case ReLU(), MaxPool():
            return [after, before]
    return [before, after]


def _fields(layer: Affine | Convolution) -> dict[str, Any]:
    return {field.name: getattr(layer, field.name) for field in fields(layer)}
