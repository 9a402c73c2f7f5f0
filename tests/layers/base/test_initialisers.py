"""Initial weights: their spread, where their fans come from, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from sumgrad.layers import Affine, AffineReLU, InvalidHyperparameterError, Layer, Maxout
from sumgrad.layers.base.initialisers import INITIALISERS, Initialiser, fans, initialise

FAN_IN, FAN_OUT, STD = 300, 500, 0.03

VARIANCES: dict[Initialiser, float] = {
    "he": 2 / FAN_IN,
    "glorot": 2 / (FAN_IN + FAN_OUT),
    "normal": STD**2,
    "zeros": 0,
}

every_initialiser = pytest.mark.parametrize("kind", VARIANCES)
every_type = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def filled(kind: Initialiser, shape: tuple[int, ...], dtype: Any, seed: int = 1) -> Any:
    W = np.full(shape, np.nan, dtype)
    initialise(kind, STD, np.random.default_rng(seed), W, FAN_IN, FAN_OUT)
    return W


def test_every_initialiser_is_under_test() -> None:
    assert set(VARIANCES) == set(INITIALISERS)


@every_initialiser
@every_type
@pytest.mark.parametrize("shape", [(400, 400), (5, 4, 80, 100)])
def test_weights_have_the_initialisers_distribution(
    kind: Initialiser, dtype: Any, shape: tuple[int, ...]
) -> None:
    W = filled(kind, shape, dtype)
    assert W.dtype == dtype
    assert W.std() == pytest.approx(VARIANCES[kind] ** 0.5, rel=0.01)
    if kind != "zeros":
        normal = stats.norm(scale=VARIANCES[kind] ** 0.5)
        assert stats.kstest(W.ravel(), normal.cdf).pvalue > 0.01


@every_initialiser
def test_the_generator_alone_decides(kind: Initialiser) -> None:
    first = filled(kind, (6, 5), np.float32)
    np.testing.assert_array_equal(filled(kind, (6, 5), np.float32), first)
    same = (filled(kind, (6, 5), np.float32, seed=2) == first).all()
    assert same == (kind == "zeros")


def test_fans_count_what_one_output_sums_over_and_what_one_input_feeds() -> None:
    assert fans(inputs=300, outputs=500) == (300, 500)
    assert fans(inputs=3, outputs=8, window=5 * 4) == (60, 160)


@every_initialiser
@every_type
@pytest.mark.parametrize(
    "layer", [Affine(FAN_OUT), AffineReLU(FAN_OUT), Maxout(FAN_OUT, pieces=2)], ids=repr
)
def test_a_layer_fills_its_weights_by_its_initialiser_and_its_biases_with_zeros(
    layer: Any, kind: Initialiser, dtype: Any
) -> None:
    layer = type(layer)(**{**vars(layer), "initialiser": kind, "init_std": STD})
    params = {
        name: np.full(shape, np.nan, dtype)
        for name, shape in layer.shapes((FAN_IN,)).params.items()
    }
    layer.init(np.random.default_rng(1), params)
    assert params["W"].std() == pytest.approx(VARIANCES[kind] ** 0.5, rel=0.01)
    assert abs(params["W"].mean()) < 1e-3
    assert not params["b"].any()


@pytest.mark.parametrize("layer", [Affine(4), AffineReLU(4), Maxout(2, pieces=2)], ids=repr)
def test_he_is_the_default(layer: Layer) -> None:
    assert layer.initialiser == "he"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"initialiser": "xavier"},
            "initialiser: must be 'he', 'glorot', 'normal' or 'zeros', got 'xavier'",
        ),
        ({"init_std": 0.0}, "init_std: must be a finite number > 0, got 0.0"),
        ({"init_std": float("inf")}, "init_std: must be a finite number > 0, got inf"),
    ],
)
@pytest.mark.parametrize("kind", [Affine, AffineReLU, Maxout])
def test_what_is_no_initialiser_is_refused(kind: Any, fields: dict[str, Any], message: str) -> None:
    sizes = {"units": 3, "pieces": 2} if kind is Maxout else {"units": 3}
    with pytest.raises(InvalidHyperparameterError) as caught:
        kind(**sizes, **fields)
    assert str(caught.value) == message
