"""Networks: layers in sequence over one flat vector."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from sumgrad.layers import (
    Affine,
    AffineReLU,
    Flatten,
    InvalidHyperparameterError,
    LayerShapeError,
    Network,
    ReLU,
    ShapeError,
)
from sumgrad.layers.base.arrays import Shape
from sumgrad.layers.base.hyperparameters import above, at_least, require, within
from sumgrad.layers.base.layer import Shapes
from sumgrad.layers.losses import CrossEntropy, SquaredError
from sumgrad.layers.network.network import Slot

from support.gradient_check import Array, assert_gradient

# Layers without parameters come first, last and in between.
DEEP = Network((ReLU(), Flatten(), AffineReLU(5), Affine(4), ReLU(), Affine(3)), (2, 3))


def test_shapes_follow_from_layer_to_layer() -> None:
    assert [shapes.output for shapes in DEEP.shapes] == [(2, 3), (6,), (5,), (4,), (4,), (3,)]
    assert DEEP.output_shape == (3,)


def test_a_network_without_layers_gives_back_its_input() -> None:
    network = Network((), (2, 3))
    x = np.ones((4, 2, 3))
    scores, backward = network.forward([], x)
    assert scores is x
    assert network.output_shape == (2, 3)
    assert network.size == 0
    backward(np.ones_like(x), [])


def test_slots_follow_each_other_without_gaps() -> None:
    assert DEEP.slots == (
        Slot(2, "W", 0, (5, 6)),
        Slot(2, "b", 30, (5,)),
        Slot(3, "W", 35, (4, 5)),
        Slot(3, "b", 55, (4,)),
        Slot(5, "W", 59, (3, 4)),
        Slot(5, "b", 71, (3,)),
    )
    assert DEEP.size == 74


def test_views_are_the_flat_vector_itself_each_element_once() -> None:
    flat = np.zeros(DEEP.size, np.float32)
    views = DEEP.views(flat)
    for params in views:
        for value in params.values():
            assert np.shares_memory(value, flat)
            value += 1
    np.testing.assert_array_equal(flat, np.ones(DEEP.size))
    assert [sorted(params) for params in views] == [[], [], ["W", "b"], ["W", "b"], [], ["W", "b"]]


def test_views_lie_where_their_slots_say() -> None:
    flat = np.arange(DEEP.size)
    views = DEEP.views(flat)
    for slot in DEEP.slots:
        expected = np.arange(slot.offset, slot.offset + math.prod(slot.shape)).reshape(slot.shape)
        np.testing.assert_array_equal(views[slot.layer][slot.name], expected)


def test_init_is_a_function_of_the_seed() -> None:
    np.testing.assert_array_equal(DEEP.init(7), DEEP.init(7))
    assert (DEEP.init(7) != DEEP.init(8)).any()


def test_init_gives_float32_unless_asked_otherwise() -> None:
    assert DEEP.init(7).dtype == np.float32
    assert DEEP.init(7, np.float64).dtype == np.float64


def test_a_layer_starts_alike_whatever_the_others_are() -> None:
    def start_of_layer_1(network: Network) -> Array:
        return network.views(network.init(7))[1]["W"]

    reference = start_of_layer_1(Network((Affine(4), Affine(3)), (5,)))
    for network in (
        Network((Affine(4), Affine(3)), (9,)),
        Network((AffineReLU(4), Affine(3), Affine(8)), (5,)),
        Network((Flatten(), Affine(3)), (2, 2)),
    ):
        np.testing.assert_array_equal(start_of_layer_1(network), reference)


def test_two_layers_of_one_shape_start_differently() -> None:
    network = Network((Affine(4), Affine(4)), (4,))
    first, second = network.views(network.init(7))
    assert (first["W"] != second["W"]).all()


def test_forward_passes_each_output_on() -> None:
    flat = DEEP.init(1, np.float64)
    views = DEEP.views(flat)
    x = np.random.default_rng(1).standard_normal((7, 2, 3))
    scores, _ = DEEP.forward(views, x)
    hidden = np.maximum(x, 0).reshape(7, 6)
    hidden = np.maximum(np.einsum("bi,oi->bo", hidden, views[2]["W"]) + views[2]["b"], 0)
    hidden = np.maximum(np.einsum("bi,oi->bo", hidden, views[3]["W"]) + views[3]["b"], 0)
    expected = np.einsum("bi,oi->bo", hidden, views[5]["W"]) + views[5]["b"]
    np.testing.assert_allclose(scores, expected, rtol=1e-12)


@pytest.mark.parametrize(
    "network",
    [
        DEEP,
        Network((Affine(3),), (2, 3)),
        Network((AffineReLU(5), AffineReLU(5), Affine(3), ReLU()), (2, 3)),
    ],
    ids=["parameters-from-layer-2", "one-layer", "ends-without-parameters"],
)
@pytest.mark.parametrize("loss_name", ["cross_entropy", "squared_error"])
def test_backward_gives_the_gradient_of_the_whole_network(network: Network, loss_name: str) -> None:
    rng = np.random.default_rng(4)
    x = rng.standard_normal((6, *network.input_shape))
    loss, y = (
        (CrossEntropy(), rng.integers(0, 3, 6))
        if loss_name == "cross_entropy"
        else (SquaredError(), rng.standard_normal((6, 3)))
    )
    flat = network.init(1, np.float64) + 0.1 * rng.standard_normal(network.size)
    grads = np.full(network.size, np.nan)

    def summed_loss(weights: Array) -> float:
        return loss.forward(network.forward(network.views(weights), x)[0], y)[0]

    scores, backward = network.forward(network.views(flat), x)
    backward(loss.forward(scores, y)[1], network.views(grads))
    assert_gradient(summed_loss, flat, grads, directions=10)


@dataclass(frozen=True)
class Picky:
    """A layer that takes vectors of three elements only."""

    def shapes(self, input_shape: Shape) -> Shapes:
        if input_shape != (3,):
            raise ShapeError(f"needs (3,), gets {input_shape}")
        return Shapes({}, (3,))


def test_a_shape_that_does_not_fit_names_the_layer() -> None:
    assert Network((Affine(3), Picky()), (5,)).output_shape == (3,)  # type: ignore[arg-type]
    network = Network((Affine(3), Picky(), Affine(4), Picky()), (5,))  # type: ignore[arg-type]
    with pytest.raises(LayerShapeError, match=r"needs \(3,\), gets \(4,\)") as caught:
        _ = network.shapes
    assert caught.value.index == 3


@dataclass(frozen=True)
class Block:
    count: int = 1
    rate: float = 1.0
    share: float = 0.5

    def __post_init__(self) -> None:
        require(self, count=at_least(1), rate=above(0), share=within(0, 1))


def test_hyperparameters_in_range_pass() -> None:
    assert Block(count=2**31 - 1, rate=1e-300, share=0.0).share == 0.0


def test_one_error_carries_every_problem() -> None:
    with pytest.raises(InvalidHyperparameterError) as caught:
        Block(count=0, rate=math.inf, share=1.0)
    assert caught.value.problems == [
        ("count", "must be ≥ 1, got 0"),
        ("rate", "must be a finite number > 0, got inf"),
        ("share", "must be in [0, 1), got 1.0"),
    ]
    assert str(caught.value).count(";") == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", 2**31),
        ("rate", 0.0),
        ("rate", -1.0),
        ("rate", math.nan),
        ("share", -0.1),
        ("share", math.nan),
    ],
)
def test_a_value_out_of_range_is_named(field: str, value: float) -> None:
    with pytest.raises(InvalidHyperparameterError) as caught:
        Block(**{field: value})  # type: ignore[arg-type]
    assert [name for name, _ in caught.value.problems] == [field]
