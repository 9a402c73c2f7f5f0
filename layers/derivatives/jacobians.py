"""Jacobians, J[i, j] = ∂y_i/∂x_j, by backward passes and by differences.

Source: docs/mathematics.md#2-derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sumgrad.layers.base.arrays import Array, Params
from sumgrad.layers.base.context import EVALUATION, Context
from sumgrad.layers.base.layer import Layer

STEP = 1e-6
"""Distance that one element is moved, relative to its size where that is above 1."""


class Jacobians(NamedTuple):
    """Derivatives of a layer's output for one sample, every array read in row-major order.

    Attributes:
        x: (outputs, inputs), by the sample.
        params: by each parameter, (outputs, elements of the parameter).
    """

    x: Array
    params: Params


def analytic_jacobians(
    layer: Layer, params: Params, x: Array, context: Context = EVALUATION
) -> Jacobians:
    """One backward pass for each output element, whose feedback is 1 there and 0 elsewhere.

    Args:
        params: of the shapes that ``layer.shapes`` gives; a network is one layer as ``OneLayer``.
        x: one sample, without the batch axis.
        context: with a key, a layer that draws random numbers draws the same ones every time.
    """
    y, backward = layer.forward(params, x[np.newaxis], context)
    by_x = np.empty((y.size, x.size), x.dtype)
    by_params = {name: np.empty((y.size, p.size), p.dtype) for name, p in params.items()}
    grads = {name: np.empty_like(p) for name, p in params.items()}
    for i in range(y.size):
        feedback = np.zeros(y.shape, y.dtype)
        feedback.flat[i] = 1
        dx = backward(feedback, grads)
        assert dx is not None
        by_x[i] = dx.ravel()
        for name, grad in grads.items():
            by_params[name][i] = grad.ravel()
    return Jacobians(by_x, by_params)


def numeric_jacobians(
    layer: Layer, params: Params, x: Array, context: Context = EVALUATION
) -> Jacobians:
    """The Jacobians by central differences in float64: two forward passes for each element.

    Wrong where a kink lies within a step of the point.
    """
    params = {name: p.astype(np.float64) for name, p in params.items()}
    x = x.astype(np.float64)[np.newaxis]

    def output(params: Params, x: Array) -> Array:
        # The context may give the next pass the same memory.
        return layer.forward(params, x, context)[0].flatten()

    def by_parameter(name: str) -> Array:
        return central_differences(lambda moved: output({**params, name: moved}, x), params[name])

    by_x = central_differences(lambda moved: output(params, moved), x)
    return Jacobians(by_x, {name: by_parameter(name) for name in params})


def central_differences(function: Callable[[Array], Array], point: Array) -> Array:
    """(elements of the function's vector, elements of the point), float64."""
    columns = []
    for j in range(point.size):
        step = STEP * max(1.0, abs(point.flat[j]))
        sides = []
        for moved_by in (step, -step):
            moved = point.copy()
            moved.flat[j] += moved_by
            sides.append(function(moved))
        columns.append((sides[0] - sides[1]) / (2 * step))
    return np.stack(columns, axis=1)
