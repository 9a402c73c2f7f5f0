"""ReLU, Y = max(0, X) (SPEC section 5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from layers.layer import Array, Backward, Params, Shape, Shapes


@dataclass(frozen=True)
class ReLU:
    """Negative elements become 0; the derivative at 0 is taken as 0. No parameters."""

    def shapes(self, input_shape: Shape) -> Shapes:
        return Shapes({}, input_shape)

    def init(self, rng: np.random.Generator, params: Params) -> None:
        pass

    def forward(self, params: Params, x: Array) -> tuple[Array, Backward]:
        y = np.maximum(x, 0)

        def backward(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            return dy * (y > 0) if input_gradient else None

        return y, backward
