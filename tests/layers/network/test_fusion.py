"""Fused networks: the bits of the layers run one after the other, and which layers fuse."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import pytest

from sumgrad.layers import (
    ELU,
    Affine,
    AffineReLU,
    Convolution,
    ConvolutionReLU,
    Dropout,
    Flatten,
    Layer,
    LayerNorm,
    MaxPool,
    MeanPool,
    Network,
    ReLU,
    Tanh,
)
from sumgrad.layers.base.arrays import Params, Shape
from sumgrad.layers.base.context import EVALUATION, Context, Key, Workspace
from sumgrad.layers.base.layer import Backward
from sumgrad.layers.images.convolution_max_pool import ConvolutionMaxPool
from sumgrad.layers.network.fusion import Stage, fused

from support.gradient_check import Array

ROWS = 6
KEY: Key = (3, 1, 4)

CONVOLUTION = Convolution(
    4, (3, 2), stride=(1, 2), padding=1, bias="position", initialiser="glorot", init_std=0.2
)
CONVOLUTION_RELU = ConvolutionReLU(*(vars(CONVOLUTION).values()))
"""All hyper-parameters differ from the defaults, to see that each is passed on."""


class Passes(NamedTuple):
    """What a network gives in one pass, forward and backward."""

    scores: Array
    grads: Array


def one_after_the_other(
    network: Network, params: list[Params], x: Array, ds: Array, key: Key | None
) -> Passes:
    """Every layer by itself: docs/mathematics.md#3-networks-forward-backward-feedback."""
    backwards = []
    for index, (layer, own) in enumerate(zip(network.layers, params, strict=True)):
        context = Context(None if key is None else (*key, index))
        x, backward = layer.forward(own, x, context)
        backwards.append(backward)
    flat = np.full(network.size, np.nan, np.float32)
    dy: Array | None = ds
    for backward, grads in reversed(list(zip(backwards, network.views(flat), strict=True))):
        assert dy is not None
        dy = backward(dy, grads)
    return Passes(x, flat)


def as_a_network(
    network: Network,
    params: list[Params],
    x: Array,
    ds: Array,
    key: Key | None,
    workspace: Workspace | None,
) -> Passes:
    flat = np.full(network.size, np.nan, np.float32)
    scores, backward = network.forward(params, x, key, workspace)
    backward(ds, network.views(flat))
    return Passes(scores.copy(), flat)


def random_pass(network: Network, seed: int) -> tuple[list[Params], Array, Array]:
    """Parameters, samples and feedback; whole numbers among the samples make blocks tie."""
    rng = np.random.default_rng(seed)
    flat = network.init(seed) + 0.1 * rng.standard_normal(network.size, np.float32)
    x = rng.standard_normal((ROWS, *network.input_shape), np.float32)
    x[::2] = x[::2].round()
    ds = rng.standard_normal((ROWS, *network.output_shape), np.float32)
    return network.views(flat), x, ds


IMAGE = (6, 8, 3)
MANY = (6, 8, 12)
"""Channels enough for the fast row scheme."""

NETWORKS: dict[str, tuple[Shape, tuple[Layer, ...]]] = {
    "affine-relu": ((5,), (Affine(7), ReLU(), Affine(3), ReLU())),
    "affine-relu-of-images": (IMAGE, (Affine(7, "normal", 0.3), ReLU(), Affine(3))),
    "convolution-relu": (IMAGE, (CONVOLUTION, ReLU(), Convolution(2, 2), ReLU())),
    "convolution-relu-with-the-fast-scheme": (MANY, (CONVOLUTION, ReLU(), Convolution(2, 3))),
    "convolution-relu-max-pool": (IMAGE, (Convolution(4, 3, padding=1), ReLU(), MaxPool(2))),
    "convolution-relu-max-pool-with-the-fast-scheme": (
        MANY,
        (Convolution(8, 3, padding=1), ReLU(), MaxPool((3, 2)), Convolution(3, 2)),
    ),
    "convolution-relu-as-one-max-pool": (IMAGE, (CONVOLUTION_RELU, MaxPool(2, "drop"), Affine(3))),
    "relu-max-pool": (IMAGE, (Tanh(), ReLU(), MaxPool(2), Convolution(2, 2))),
    "relu-first": (IMAGE, (ReLU(), MaxPool(2), ReLU(), Flatten(), Affine(3))),
    "max-pool-first": (IMAGE, (MaxPool(2), Convolution(4, 2), ReLU(), MaxPool((2, 3)), Affine(2))),
    "blocks-of-one": (IMAGE, (Convolution(4, 2), ReLU(), MaxPool(1), Convolution(2, 2))),
    "two-pools": (MANY, (Convolution(4, 3, padding=1), ReLU(), MaxPool(2), MaxPool(2, "drop"))),
    "lenet": (
        (12, 12, 1),
        (
            Convolution(16, 5, padding=2),
            ReLU(),
            MaxPool(2),
            Convolution(32, 5, padding=2),
            ReLU(),
            MaxPool(2),
            Flatten(),
            Affine(20),
            ReLU(),
            Affine(10),
        ),
    ),
    "normalised-and-dropped": (
        IMAGE,
        (
            Convolution(4, 3, padding=1),
            ReLU(),
            MaxPool(2),
            Dropout(0.3),
            LayerNorm(),
            ConvolutionReLU(4, 2),
            MeanPool(2, "drop"),
            Dropout(0.3),
            Affine(5),
            ReLU(),
            Dropout(0.3),
            Affine(3),
        ),
    ),
    "nothing-to-fuse": (IMAGE, (Convolution(4, 3), MaxPool(2), ReLU(), Tanh(), ELU(), Affine(3))),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("key", [None, KEY], ids=["evaluating", "training"])
def test_a_network_has_the_bits_of_its_layers_one_after_the_other(
    name: str, key: Key | None
) -> None:
    input_shape, layers = NETWORKS[name]
    network = Network(layers, input_shape)
    workspace = Workspace()
    for seed in (1, 2, 3):
        params, x, ds = random_pass(network, seed)
        expected = one_after_the_other(network, params, x, ds, key)
        assert expected.scores.any()
        for memory in (None, workspace):
            found = as_a_network(network, params, x, ds, key, memory)
            np.testing.assert_array_equal(found.scores, expected.scores)
            np.testing.assert_array_equal(found.grads, expected.grads)


def test_a_block_that_ties_or_is_not_positive_has_the_same_feedback_when_fused() -> None:
    network = Network((Convolution(1, 1), ReLU(), MaxPool(2)), (2, 2, 1))
    params: list[Params] = [
        {"K": np.ones((1, 1, 1, 1), np.float32), "b": np.zeros(1, np.float32)},
        {},
        {},
    ]
    blocks = [[[1, 2], [2, 1]], [[0, 0], [0, 0]], [[-1, 0], [-2, -1]], [[-3, -3], [-3, -4]]]
    x = np.array(blocks, np.float32)[..., np.newaxis]
    ds = np.array([3, 5, 7, 11], np.float32).reshape(4, 1, 1, 1)
    expected = one_after_the_other(network, params, x, ds, None)
    found = as_a_network(network, params, x, ds, None, None)
    np.testing.assert_array_equal(found.scores.ravel(), [2, 0, 0, 0])
    # Of the first block alone, dK = 2 · 3 and db = 3.
    np.testing.assert_array_equal(found.grads, [6, 3])
    np.testing.assert_array_equal(expected.grads, [6, 3])


AFFINE = Affine(7, "normal", 0.3)
POOL = MaxPool((2, 3), "drop")
POOLED = ConvolutionMaxPool(CONVOLUTION, POOL)


@pytest.mark.parametrize(
    ("layers", "stages"),
    [
        ([], []),
        ([AFFINE, ReLU()], [Stage(AffineReLU(7, "normal", 0.3), 0)]),
        ([CONVOLUTION, ReLU()], [Stage(CONVOLUTION_RELU, 0)]),
        ([CONVOLUTION, POOL], [Stage(POOLED, 0)]),
        ([CONVOLUTION, POOL, ReLU()], [Stage(POOLED, 0), Stage(ReLU(), 2)]),
        ([ReLU(), POOL], [Stage(POOL, 1), Stage(ReLU(), 0)]),
        (
            [CONVOLUTION_RELU, POOL],
            [Stage(POOLED, 0), Stage(ReLU(), 0)],
        ),
        (
            [CONVOLUTION, ReLU(), POOL],
            [Stage(POOLED, 0), Stage(ReLU(), 0)],
        ),
        (
            [Tanh(), CONVOLUTION, ReLU(), POOL, AFFINE, ReLU()],
            [
                Stage(Tanh(), 0),
                Stage(POOLED, 1),
                Stage(ReLU(), 1),
                Stage(AffineReLU(7, "normal", 0.3), 4),
            ],
        ),
    ],
    ids=lambda layers: "-".join(type(getattr(each, "layer", each)).__name__ for each in layers),
)
def test_layers_that_fuse(layers: list[Layer], stages: list[Stage]) -> None:
    assert fused(layers) == stages


@pytest.mark.parametrize(
    "layers",
    [
        [ReLU(), AFFINE],
        [ReLU(), CONVOLUTION],
        [CONVOLUTION, Tanh()],
        [CONVOLUTION, ELU()],
        [CONVOLUTION, Dropout(0.5), ReLU()],
        [CONVOLUTION_RELU, MeanPool(2)],
        [ReLU(), MeanPool(2)],
        [AffineReLU(3), ReLU()],
        [CONVOLUTION_RELU, ReLU()],
        [LayerNorm(), ReLU()],
        [ELU(), POOL],
        [ReLU(), Dropout(0.5), POOL],
    ],
    ids=lambda layers: "-".join(type(layer).__name__ for layer in layers),
)
def test_layers_that_do_not_fuse(layers: list[Layer]) -> None:
    assert fused(layers) == [Stage(layer, index) for index, layer in enumerate(layers)]


def test_every_hyperparameter_of_the_convolution_under_test_is_another_than_the_default() -> None:
    for field in dataclasses.fields(Convolution):
        assert getattr(CONVOLUTION, field.name) != field.default
        assert getattr(CONVOLUTION_RELU, field.name) == getattr(CONVOLUTION, field.name)


def test_parameters_keep_the_names_and_places_that_the_layers_give_them() -> None:
    network = Network((ReLU(), Convolution(4, 3), ReLU(), MaxPool(2), Affine(3), ReLU()), IMAGE)
    assert [(slot.layer, slot.name, slot.shape) for slot in network.slots] == [
        (1, "K", (3, 3, 3, 4)),
        (1, "b", (4,)),
        (4, "W", (3, 2 * 3 * 4)),
        (4, "b", (3,)),
    ]
    assert [shapes.output for shapes in network.shapes] == [
        (6, 8, 3),
        (4, 6, 4),
        (4, 6, 4),
        (2, 3, 4),
        (3,),
        (3,),
    ]


def test_a_dropout_behind_a_fused_pair_draws_as_the_layer_that_it_is() -> None:
    x = np.ones((ROWS, 40), np.float32)
    network = Network((Affine(40), ReLU(), Dropout(0.5)), (40,))
    params: list[Params] = [{"W": np.eye(40, dtype=np.float32), "b": np.zeros(40, np.float32)}]
    scores, _ = network.forward([*params, {}, {}], x, KEY)
    expected, _ = Dropout(0.5).forward({}, x, Context((*KEY, 2)))
    np.testing.assert_array_equal(scores, expected)
    other, _ = Dropout(0.5).forward({}, x, Context((*KEY, 1)))
    assert (other != expected).any()


@dataclass(frozen=True)
class OneWay(Tanh):
    """Nobody may ask for its feedback."""

    def forward(
        self, params: Params, x: Array, context: Context = EVALUATION
    ) -> tuple[Array, Backward]:
        def backward(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            raise AssertionError("the feedback went below the first layer with parameters")

        return super().forward(params, x, context)[0], backward


@pytest.mark.parametrize("first", [(OneWay(),), (OneWay(), MaxPool(2), OneWay())], ids=len)
def test_feedback_ends_at_the_first_layer_with_parameters(first: tuple[Layer, ...]) -> None:
    network = Network((*first, Convolution(4, 2), ReLU(), MaxPool(2, "drop"), Affine(3)), IMAGE)
    params, x, ds = random_pass(network, 1)
    grads = as_a_network(network, params, x, ds, None, None).grads
    assert np.isfinite(grads).all()
    with pytest.raises(AssertionError, match="below the first layer"):
        one_after_the_other(network, params, x, ds, None)


@dataclass(frozen=True)
class Asked(Convolution):
    """Notes whether its input gradient was asked for; its networks are run once."""

    asked: ClassVar[list[bool]] = []

    def forward(
        self, params: Params, x: Array, context: Context = EVALUATION
    ) -> tuple[Array, Backward]:
        y, backward = super().forward(params, x, context)

        def noting(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            self.asked.append(input_gradient)
            return backward(dy, grads, input_gradient)

        return y, noting


def test_only_the_first_layer_with_parameters_is_spared_its_input_gradient() -> None:
    Asked.asked.clear()
    network = Network((ReLU(), MaxPool(2), Asked(4, 2), ReLU(), MaxPool(1), Asked(3, 1)), IMAGE)
    params, x, ds = random_pass(network, 1)
    as_a_network(network, params, x, ds, None, None)
    assert Asked.asked == [True, False]
