"""Flatten: a sample of any shape as one vector."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from layers.layer import Array, Backward, Params, Shape, Shapes


@dataclass(frozen=True)
class Flatten:
    """Read each sample as a vector, in row-major order. No parameters, no copy."""

    def shapes(self, input_shape: Shape) -> Shapes:
        return Shapes({}, (math.prod(input_shape),))

    def init(self, rng: np.random.Generator, params: Params) -> None:
        pass

    def forward(self, params: Params, x: Array) -> tuple[Array, Backward]:
        def backward(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            return dy.reshape(x.shape) if input_gradient else None

        return x.reshape(len(x), -1), backward
