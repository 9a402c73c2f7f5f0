"""Layers against PyTorch's autodiff: an oracle that shares no formula with ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sumgrad.layers import (
    ELU,
    LAYERS,
    Affine,
    AffineReLU,
    Convolution,
    ConvolutionReLU,
    Dropout,
    Flatten,
    Layer,
    LayerNorm,
    Maxout,
    MaxPool,
    MeanPool,
    ReLU,
    Sigmoid,
    Tanh,
)
from sumgrad.layers.base.arrays import Shape
from sumgrad.layers.base.hyperparameters import as_pair
from sumgrad.layers.images.pooling_blocks import PoolingBlocks

from support.gradient_check import Array

torch = pytest.importorskip("torch", reason="PyTorch comes with the benchmarks: make bench")
F = torch.nn.functional

UNITS = st.integers(1, 6)
POSITIVE = st.floats(0.01, 3)
SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)
NORMALISED_SHAPES = SHAPES.map(lambda shape: (*shape, shape[-1] + 1))


class Counterpart(NamedTuple):
    """What PyTorch calls a layer.

    function: (layer, parameters by name, batch) → Y, in PyTorch's arrays laid out as ours.
    layers: the layer with hyper-parameters drawn at random.
    shapes: of one sample, for a layer.
    """

    function: Callable[[Any, dict[str, Any], Any], Any]
    layers: st.SearchStrategy[Layer]
    shapes: Callable[[Any], st.SearchStrategy[Shape]] = lambda layer: SHAPES


def affine(layer: Affine, params: dict[str, Any], x: Any) -> Any:
    return F.linear(x.flatten(1), params["W"], params["b"])


def maxout(layer: Maxout, params: dict[str, Any], x: Any) -> Any:
    pieces = torch.einsum("bi,uki->buk", x.flatten(1), params["W"]) + params["b"]
    return pieces.max(dim=2).values


def one_or_two(numbers: st.SearchStrategy[int]) -> st.SearchStrategy[int | tuple[int, int]]:
    """For both axes, or for each."""
    return numbers | st.tuples(numbers, numbers)


def convolutions(kind: type[Convolution]) -> st.SearchStrategy[Convolution]:
    return st.builds(
        kind,
        channels=st.integers(1, 4),
        kernel=one_or_two(st.integers(1, 9)),
        stride=one_or_two(st.integers(1, 4)),
        padding=one_or_two(st.integers(0, 4)),
        bias=st.sampled_from(["channel", "position", "none"]),
    )


def convolved_shapes(layer: Convolution) -> st.SearchStrategy[Shape]:
    """Images that a kernel fits into when they are padded, with few channels or with many."""

    def axis(kernel: int, padding: int) -> st.SearchStrategy[int]:
        smallest = max(1, kernel - 2 * padding)
        return st.integers(smallest, smallest + 7)

    axes = map(axis, as_pair(layer.kernel), as_pair(layer.padding))
    return st.tuples(*axes, st.integers(1, 3) | st.integers(8, 34))


def pools(kind: type[PoolingBlocks]) -> st.SearchStrategy[PoolingBlocks]:
    return st.builds(kind, one_or_two(st.integers(1, 4)), st.sampled_from(["error", "drop"]))


def pooled_shapes(layer: PoolingBlocks) -> st.SearchStrategy[Shape]:
    def axis(block: int) -> st.SearchStrategy[int]:
        left = st.integers(0, block - 1) if layer.ragged == "drop" else st.just(0)
        return st.builds(lambda blocks, left: blocks * block + left, st.integers(1, 4), left)

    return st.tuples(*map(axis, as_pair(layer.size)), st.integers(1, 4))


def channels_first(x: Any) -> Any:
    return x.permute(0, 3, 1, 2)


def channels_last(x: Any) -> Any:
    return x.permute(0, 2, 3, 1)


def convolution(layer: Convolution, params: dict[str, Any], x: Any) -> Any:
    K = params["K"].permute(3, 2, 0, 1).contiguous()
    bias = params["b"] if layer.bias == "channel" else None
    y = channels_last(F.conv2d(channels_first(x), K, bias, layer.stride, layer.padding))
    return y + params["b"] if layer.bias == "position" else y


COUNTERPARTS: dict[type[Layer], Counterpart] = {
    Affine: Counterpart(affine, st.builds(Affine, UNITS)),
    AffineReLU: Counterpart(
        lambda layer, params, x: F.relu(affine(layer, params, x)), st.builds(AffineReLU, UNITS)
    ),
    Convolution: Counterpart(convolution, convolutions(Convolution), convolved_shapes),
    ConvolutionReLU: Counterpart(
        lambda layer, params, x: F.relu(convolution(layer, params, x)),
        convolutions(ConvolutionReLU),
        convolved_shapes,
    ),
    # Without a key, for PyTorch draws other numbers.
    Dropout: Counterpart(
        lambda layer, params, x: F.dropout(x, layer.rate, training=False),
        st.builds(Dropout, st.floats(0, 0.9)),
    ),
    ELU: Counterpart(lambda layer, params, x: F.elu(x, layer.alpha), st.builds(ELU, POSITIVE)),
    Flatten: Counterpart(lambda layer, params, x: x.flatten(1), st.just(Flatten())),
    LayerNorm: Counterpart(
        lambda layer, params, x: F.layer_norm(
            x, x.shape[-1:], params["gain"], params["bias"], layer.epsilon
        ),
        st.builds(LayerNorm, st.floats(1e-6, 0.1)),
        lambda layer: NORMALISED_SHAPES,
    ),
    MaxPool: Counterpart(
        lambda layer, params, x: channels_last(F.max_pool2d(channels_first(x), layer.size)),
        pools(MaxPool),
        pooled_shapes,
    ),
    MeanPool: Counterpart(
        lambda layer, params, x: channels_last(F.avg_pool2d(channels_first(x), layer.size)),
        pools(MeanPool),
        pooled_shapes,
    ),
    Maxout: Counterpart(maxout, st.builds(Maxout, UNITS, st.integers(1, 4))),
    ReLU: Counterpart(lambda layer, params, x: F.relu(x), st.just(ReLU())),
    Sigmoid: Counterpart(lambda layer, params, x: torch.sigmoid(x), st.just(Sigmoid())),
    Tanh: Counterpart(lambda layer, params, x: torch.tanh(x), st.just(Tanh())),
}


def assert_same(ours: Array, theirs: Any) -> None:
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-9, atol=1e-11)


def test_every_layer_of_the_table_has_its_counterpart() -> None:
    assert set(COUNTERPARTS) == set(LAYERS.values())


@pytest.mark.slow
@pytest.mark.parametrize("kind", COUNTERPARTS, ids=lambda kind: kind.__name__)
@settings(deadline=None)
@given(data=st.data())
def test_a_layer_agrees_with_its_counterpart(kind: type[Layer], data: st.DataObject) -> None:
    counterpart = COUNTERPARTS[kind]
    layer = data.draw(counterpart.layers, "layer")
    input_shape = data.draw(counterpart.shapes(layer), "shape")
    rows = data.draw(st.integers(1, 7), "rows")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32), "seed"))
    shapes = layer.shapes(input_shape)
    params = {name: rng.standard_normal(shape) for name, shape in shapes.params.items()}
    grads = {name: np.full(shape, np.nan) for name, shape in shapes.params.items()}
    x, dy = rng.standard_normal((rows, *input_shape)), rng.standard_normal((rows, *shapes.output))
    their_params = {name: torch.tensor(value, requires_grad=True) for name, value in params.items()}
    their_x = torch.tensor(x, requires_grad=True)

    y, backward = layer.forward(params, x)
    dx = backward(dy, grads)
    their_y = counterpart.function(layer, their_params, their_x)
    their_y.backward(torch.tensor(dy))

    assert dx is not None
    assert_same(y, their_y)
    assert_same(dx, their_x.grad)
    for name, grad in grads.items():
        assert_same(grad, their_params[name].grad)
