"""Convolution over images, channels last. Formulas: docs/mathematics.md#6-image-layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from sumgrad.layers.base.arrays import Array, Params, Shape
from sumgrad.layers.base.context import EVALUATION, Context
from sumgrad.layers.base.hyperparameters import (
    Pair,
    ShapeError,
    above,
    as_pair,
    at_least,
    one_of,
    pair_at_least,
    require,
)
from sumgrad.layers.base.initialisers import INITIALISERS, Initialiser, fans, initialise
from sumgrad.layers.base.layer import Backward, Operations, Shapes
from sumgrad.layers.images.correlation import Axis, Correlation, Plane, samples_at_once
from sumgrad.layers.images.correlation.phases import Size
from sumgrad.layers.images.epilogue import MakeEpilogue, Nothing, wanted

Bias = Literal["channel", "position", "none"]


@dataclass(frozen=True)
class Convolution:
    """Y[u, v] = Σ_{i,j} X[u·s + i − p, v·s + j − p] K[i, j] + b; outside the image X is 0.

    A sample is height × width × channels. ``kernel``, ``stride`` and ``padding`` are one number
    for both axes or (vertical, horizontal). Parameters: K (kernel height × kernel width × input
    channels × ``channels``), filled by ``initialiser``, and b, zeros at the start: one a channel,
    or one a position and channel (output height × output width × channels), or none.
    """

    channels: int
    kernel: Pair
    stride: Pair = 1
    padding: Pair = 0
    bias: Bias = "channel"
    initialiser: Initialiser = "he"
    init_std: float = 0.01

    def __post_init__(self) -> None:
        for name in ("kernel", "stride", "padding"):
            object.__setattr__(self, name, as_pair(getattr(self, name)))
        require(
            self,
            channels=at_least(1),
            kernel=pair_at_least(1),
            stride=pair_at_least(1),
            padding=pair_at_least(0),
            bias=one_of(*get_args(Bias)),
            initialiser=one_of(*INITIALISERS),
            init_std=above(0),
        )

    def plane(self, input_shape: Shape) -> Plane:
        height, width, _ = input_shape
        (kh, kw), (sh, sw) = as_pair(self.kernel), as_pair(self.stride)
        ph, pw = as_pair(self.padding)
        return Plane(Axis(height, kh, sh, ph), Axis(width, kw, sw, pw))

    def shapes(self, input_shape: Shape) -> Shapes:
        if len(input_shape) != 3:
            raise ShapeError(
                f"a convolution needs samples of height × width × channels, but gets {input_shape}"
            )
        vertical, horizontal = self.plane(input_shape)
        if vertical.output < 1 or horizontal.output < 1:
            raise ShapeError(
                f"a kernel of {vertical.kernel} × {horizontal.kernel} is larger than the "
                f"{vertical.size} × {horizontal.size} that come in, with a padding of "
                f"{vertical.padding} and {horizontal.padding}; choose a smaller one or pad more"
            )
        output = (vertical.output, horizontal.output, self.channels)
        params: dict[str, Shape] = {
            "K": (vertical.kernel, horizontal.kernel, input_shape[2], self.channels)
        }
        if self.bias != "none":
            params["b"] = output if self.bias == "position" else (self.channels,)
        return Shapes(params, output)

    def operations(self, input_shape: Shape) -> Operations:
        shapes = self.shapes(input_shape)
        outputs = math.prod(shapes.output)
        product = 2 * math.prod(shapes.params["K"][:3]) * outputs
        bias = outputs if self.bias != "none" else 0
        return Operations(product + bias, 2 * product + bias)

    def init(self, rng: np.random.Generator, params: Params) -> None:
        rows, columns, inputs, outputs = params["K"].shape
        fan_in, fan_out = fans(inputs, outputs, rows * columns)
        initialise(self.initialiser, self.init_std, rng, params["K"], fan_in, fan_out)
        if "b" in params:
            params["b"][...] = 0

    def forward(
        self, params: Params, x: Array, context: Context = EVALUATION
    ) -> tuple[Array, Backward]:
        return self.forward_with(Nothing, params, x, context)

    def forward_with(
        self, epilogue: MakeEpilogue, params: Params, x: Array, context: Context
    ) -> tuple[Array, Backward]:
        """Forward with an epilogue, a few samples at a time."""
        plane = self.plane(x.shape[1:])
        K, size = plane.by_phase(params["K"]), plane.size
        groups = _groups(len(x), samples_at_once(size, K))
        end = epilogue(size, K, len(x), context)
        for samples, parts in groups:
            correlation = Correlation(size, K, samples, context.scratch)
            bias = self._bias_of_rows(params, end.images(parts[0]).shape)
            for part in parts:
                images = end.images(part)
                plane.pad(x[part], correlation.x)
                correlation.forward(images)
                if bias is not None:
                    images += bias
                end.finish(images, part)

        def backward(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            for gradient in grads.values():
                gradient[...] = 0
            dx = context.empty("dx", x.shape, dy.dtype) if input_gradient else None
            if dx is not None and plane.strided:
                dx[...] = 0  # a stride may leave lines out
            for samples, parts in groups:
                correlation = Correlation(size, K, samples, context.scratch)
                correlation.prepare_backward()
                feedback = wanted(correlation.dy, size)
                for part in parts:
                    plane.pad(x[part], correlation.x)
                    end.feedback(dy[part], part, feedback)
                    self._add_bias_gradient(grads, correlation.dy, size)
                    dpadded = correlation.backward(input_gradient)
                    if dx is not None:
                        plane.pad_adjoint(dpadded, dx[part])
                plane.add_by_phase(correlation.kernel_gradient(), grads["K"])
            return dx

        return end.y, backward

    def _bias_of_rows(self, params: Params, images: Shape) -> Array | None:
        """b for images (rows, samples, pitch, channels), whole rows of it: a loop over few
        channels would be slow."""
        if self.bias == "none":
            return None
        b = params["b"]
        if self.bias == "channel":
            return np.tile(b, (images[2], 1))
        rows = np.zeros((images[0], 1, *images[2:]), b.dtype)
        rows[: b.shape[0], 0, : b.shape[1]] = b
        return rows

    def _add_bias_gradient(self, grads: Params, dy: Array, size: Size) -> None:
        """From feedback that is 0 beyond the output's rows and columns."""
        if self.bias == "channel":
            by_column = np.add.reduce(dy, axis=(0, 1))
            grads["b"] += np.add.reduce(by_column, axis=0)
        elif self.bias == "position":
            grads["b"] += np.add.reduce(dy[: size.rows, :, : size.columns], axis=1)


def _groups(rows: int, most: int) -> list[tuple[int, list[slice]]]:
    """Rows in slices of ``most``, and one slice of the rest: (length, slices) of each length."""
    left = rows % most
    whole = [slice(i, i + most) for i in range(0, rows - left, most)]
    groups = [(most, whole), (left, [slice(rows - left, rows)])]
    return [(length, slices) for length, slices in groups if length and slices]
