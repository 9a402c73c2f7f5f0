"""Layer normalisation: what comes out is normalised, and what cannot be is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sumgrad.layers import InvalidHyperparameterError, LayerNorm, ShapeError
from sumgrad.layers.base.arrays import Shape


@pytest.mark.parametrize("shape", [(), (1,), (28, 28, 1)])
def test_an_axis_that_has_nothing_to_normalise_over_is_refused(shape: Shape) -> None:
    with pytest.raises(ShapeError, match="layer_norm needs at least 2 elements"):
        LayerNorm().shapes(shape)


def test_a_normalised_sample_has_mean_0_and_variance_1() -> None:
    x = np.random.default_rng(1).normal(1e4, 30, (6, 5, 200)).astype(np.float32)
    params = {"gain": np.ones(200, np.float32), "bias": np.zeros(200, np.float32)}
    y, _ = LayerNorm().forward(params, x)
    np.testing.assert_allclose(y.mean(axis=-1), 0, atol=1e-4)
    np.testing.assert_allclose(y.var(axis=-1), 1, rtol=1e-4)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.inf, math.nan])
def test_an_epsilon_out_of_range_is_refused(epsilon: float) -> None:
    with pytest.raises(InvalidHyperparameterError, match=r"^epsilon: must be a finite number > 0"):
        LayerNorm(epsilon)
