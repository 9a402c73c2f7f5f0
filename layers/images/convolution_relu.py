"""Convolution and ReLU as one layer. Formulas: docs/mathematics.md#6-image-layers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sumgrad.layers.base.arrays import Array, Params, Shape
from sumgrad.layers.base.context import EVALUATION, Context
from sumgrad.layers.base.layer import Backward, Operations
from sumgrad.layers.images.convolution import Convolution
from sumgrad.layers.images.epilogue import Rectification


@dataclass(frozen=True)
class ConvolutionReLU(Convolution):
    """The same map as Convolution followed by ReLU, without a pass over memory of its own."""

    def operations(self, input_shape: Shape) -> Operations:
        forward, backward = super().operations(input_shape)
        outputs = math.prod(self.shapes(input_shape).output)
        return Operations(forward + outputs, backward + outputs)

    def forward(
        self, params: Params, x: Array, context: Context = EVALUATION
    ) -> tuple[Array, Backward]:
        return self.forward_with(Rectification, params, x, context)
