"""ReLU, Tanh, ELU and Sigmoid where it is delicate: at 0, far out, and near their limits."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import special

from sumgrad.layers import ELU, InvalidHyperparameterError, Layer, ReLU, Sigmoid, Tanh
from sumgrad.layers.base.logistic_function import logistic

from support.gradient_check import Array


def test_the_derivative_of_relu_at_zero_is_zero() -> None:
    y, backward = ReLU().forward({}, np.array([[-1.0, -0.0, 0.0, 1.0]]))
    np.testing.assert_array_equal(y, [[0, 0, 0, 1]])
    np.testing.assert_array_equal(backward(np.ones((1, 4)), {}), [[0, 0, 0, 1]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("layer", "y", "dx"),
    [
        (Tanh(), [-1, 1], [0, 0]),
        (Sigmoid(), [0, 1], [0, 0]),
        (ELU(), [-1, 1e4], [0, 1]),
        (ELU(alpha=0.3), [-0.3, 1e4], [0, 1]),
    ],
    ids=repr,
)
def test_large_scores_saturate_without_a_warning(
    layer: Layer, y: list[float], dx: list[float], dtype: type
) -> None:
    found, backward = layer.forward({}, np.array([[-1e4, 1e4]], dtype))
    np.testing.assert_array_equal(found, np.array([y], dtype))
    np.testing.assert_array_equal(backward(np.ones((1, 2), dtype), {}), [dx])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("layer", "oracle"), [(Sigmoid(), special.expit), (ELU(), special.expm1)], ids=repr
)
def test_small_results_keep_their_relative_precision(
    layer: Layer, oracle: Callable[[Array], Array], dtype: type
) -> None:
    x = -np.logspace(-30, math.log10(80), 1000).astype(dtype)
    y, _ = layer.forward({}, x[:, None])
    exact = oracle(x.astype(np.float64))
    np.testing.assert_allclose(y[:, 0], exact, rtol=float(8 * np.finfo(dtype).eps))


def test_the_logistic_function_may_write_over_its_argument() -> None:
    x = np.linspace(-5, 5, 11)
    expected = logistic(x, out=np.empty_like(x))
    assert logistic(x, out=x) is x
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.inf, math.nan])
def test_an_alpha_out_of_range_is_refused(alpha: float) -> None:
    with pytest.raises(InvalidHyperparameterError, match=r"^alpha: must be a finite number > 0"):
        ELU(alpha)
