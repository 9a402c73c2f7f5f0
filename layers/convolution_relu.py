"""Convolution and ReLU as one layer (SPEC sections 5 and 6)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from layers.arrays import Array, Params, Shape
from layers.context import EVALUATION, Context
from layers.convolution import Convolution
from layers.epilogue import Rectification
from layers.layer import Backward, Operations


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
