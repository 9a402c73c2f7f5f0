"""Affine and ReLU as one layer, Y = (X Wᵀ + 1 bᵀ)₊.

Formulas: docs/mathematics.md#5-vector-layers.
"""

from __future__ import annotations

from dataclasses import dataclass

from sumgrad.layers.affine import Affine
from sumgrad.layers.base.arrays import Array, Params, Shape
from sumgrad.layers.base.context import EVALUATION, Context
from sumgrad.layers.base.layer import Backward, Operations
from sumgrad.layers.relu import masked, rectified


@dataclass(frozen=True)
class AffineReLU(Affine):
    """The same map as Affine followed by ReLU, with one array less in memory."""

    def operations(self, input_shape: Shape) -> Operations:
        forward, backward = super().operations(input_shape)
        return Operations(forward + self.units, backward + self.units)

    def forward(
        self, params: Params, x: Array, context: Context = EVALUATION
    ) -> tuple[Array, Backward]:
        y, affine_backward = super().forward(params, x, context)
        rectified(y, out=y)

        def backward(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            dz = masked(dy, y, context, out=context.empty("dz", y.shape, dy.dtype))
            return affine_backward(dz, grads, input_gradient)

        return y, backward
