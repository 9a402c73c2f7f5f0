"""Convolution and max pooling as one layer, which only fusion makes.

Formulas: docs/mathematics.md#6-image-layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from sumgrad.layers.base.arrays import Array, Params, Shape
from sumgrad.layers.base.context import EVALUATION, Context
from sumgrad.layers.base.layer import Backward, Operations, Shapes
from sumgrad.layers.images.convolution import Convolution
from sumgrad.layers.images.epilogue import Pooling
from sumgrad.layers.images.max_pool import MaxPool


@dataclass(frozen=True)
class ConvolutionMaxPool:
    """The same map as one after the other; the images between them never leave the caches."""

    convolution: Convolution
    pool: MaxPool

    def shapes(self, input_shape: Shape) -> Shapes:
        params, output = self.convolution.shapes(input_shape)
        return Shapes(params, self.pool.shapes(output).output)

    def operations(self, input_shape: Shape) -> Operations:
        between = self.convolution.shapes(input_shape).output
        first, second = self.convolution.operations(input_shape), self.pool.operations(between)
        return Operations(first.forward + second.forward, first.backward + second.backward)

    def init(self, rng: np.random.Generator, params: Params) -> None:
        self.convolution.init(rng, params)

    def forward(
        self, params: Params, x: Array, context: Context = EVALUATION
    ) -> tuple[Array, Backward]:
        pooling = partial(Pooling, self.pool)
        return self.convolution.forward_with(pooling, params, x, context)
