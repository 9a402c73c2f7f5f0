"""Dropout: what is dropped follows from the key alone, and means are kept."""

from __future__ import annotations

import numpy as np
import pytest

from sumgrad.layers import Affine, Dropout, InvalidHyperparameterError, Network
from sumgrad.layers.base.context import Context, Key, Workspace
from sumgrad.layers.base.random_streams import DROPOUT_STREAM, INIT_STREAM, ORDER_STREAM, generator

from support.gradient_check import Array

KEY: Key = (7, 3, 1, 2)
"""Seed, step, shard, layer."""

ONES = np.ones((400, 250), np.float32)


def mask(rate: float, key: Key | None, x: Array = ONES) -> Array:
    """What becomes of ones: 0 where dropped."""
    return Dropout(rate).forward({}, x, Context(key))[0]


def test_one_key_drops_the_same_elements_every_time() -> None:
    np.testing.assert_array_equal(mask(0.5, KEY), mask(0.5, KEY))


@pytest.mark.parametrize(
    "key", [(8, 3, 1, 2), (7, 4, 1, 2), (7, 3, 0, 2), (7, 3, 1, 3), (7, 1, 3, 2)], ids=str
)
def test_another_seed_step_shard_or_layer_drops_others(key: Key) -> None:
    same = (mask(0.5, key) == mask(0.5, KEY)).mean()
    assert same == pytest.approx(0.5, abs=0.01)


def test_both_types_of_floats_drop_the_same_elements() -> None:
    np.testing.assert_array_equal(mask(0.3, KEY) != 0, mask(0.3, KEY, ONES.astype(np.float64)) != 0)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_the_share_of_zeros_is_the_rate(rate: float) -> None:
    assert (mask(rate, KEY) == 0).mean() == pytest.approx(rate, abs=0.005)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_survivors_are_divided_by_their_share_so_that_the_mean_is_kept(rate: float) -> None:
    y = mask(rate, KEY)
    np.testing.assert_allclose(y[y != 0], 1 / (1 - rate), rtol=1e-6)
    assert y.mean() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("workspace", [None, Workspace()], ids=["new-arrays", "workspace"])
def test_backward_drops_what_forward_dropped(workspace: Workspace | None) -> None:
    y, backward = Dropout(0.4).forward({}, ONES, Context(KEY, workspace))
    np.testing.assert_array_equal(backward(ONES, {}), y)


def test_evaluation_is_the_identity_both_ways() -> None:
    x = np.random.default_rng(1).standard_normal((5, 4))
    y, backward = Dropout(0.9).forward({}, x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(backward(x, {}), x)


def test_a_rate_of_zero_drops_nothing() -> None:
    x = np.random.default_rng(1).standard_normal((50, 40))
    np.testing.assert_array_equal(mask(0.0, KEY, x), x)


def test_two_dropouts_of_one_network_drop_different_elements() -> None:
    network = Network((Dropout(0.5), Dropout(0.5)), (250,))
    y, _ = network.forward([{}, {}], ONES, key=KEY[:3])
    assert (y != 0).mean() == pytest.approx(0.25, abs=0.01)


def test_a_network_drops_while_training_and_not_while_evaluating() -> None:
    network = Network((Dropout(0.5), Affine(3)), (20,))
    params = network.views(network.init(1))
    x = np.random.default_rng(1).standard_normal((6, 20)).astype(np.float32)
    evaluated, _ = network.forward(params, x)
    trained, _ = network.forward(params, x, key=KEY[:3])
    again, _ = network.forward(params, x, key=KEY[:3])
    np.testing.assert_array_equal(evaluated, Affine(3).forward(params[1], x)[0])
    np.testing.assert_array_equal(again, trained)
    assert (trained != evaluated).any()


def test_no_two_uses_of_chance_share_a_stream() -> None:
    draws = {
        tuple(generator(7, stream, *numbers).integers(0, 2**62, 4))
        for stream in (INIT_STREAM, ORDER_STREAM, DROPOUT_STREAM)
        for numbers in ((0,), (1,), (0, 1), (1, 0), (0, 0, 1))
    }
    assert len(draws) == 15


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_a_rate_out_of_range_is_refused(rate: float) -> None:
    with pytest.raises(InvalidHyperparameterError, match=r"rate: must be in \[0, 1\), got"):
        Dropout(rate)
