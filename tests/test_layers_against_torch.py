"""Layers against PyTorch's autodiff: an oracle that shares no formula with ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from gradient_check import Array
from hypothesis import given, settings
from hypothesis import strategies as st

from layers import (
    ELU,
    LAYERS,
    Affine,
    AffineReLU,
    Dropout,
    Flatten,
    Layer,
    LayerNorm,
    Maxout,
    ReLU,
    Sigmoid,
    Tanh,
)
from layers.arrays import Shape

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
    shapes: of one sample.
    """

    function: Callable[[Any, dict[str, Any], Any], Any]
    layers: st.SearchStrategy[Layer]
    shapes: st.SearchStrategy[Shape] = SHAPES


def affine(layer: Affine, params: dict[str, Any], x: Any) -> Any:
    return F.linear(x.flatten(1), params["W"], params["b"])


def maxout(layer: Maxout, params: dict[str, Any], x: Any) -> Any:
    pieces = torch.einsum("bi,uki->buk", x.flatten(1), params["W"]) + params["b"]
    return pieces.max(dim=2).values


COUNTERPARTS: dict[type[Layer], Counterpart] = {
    Affine: Counterpart(affine, st.builds(Affine, UNITS)),
    AffineReLU: Counterpart(
        lambda layer, params, x: F.relu(affine(layer, params, x)), st.builds(AffineReLU, UNITS)
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
        NORMALISED_SHAPES,
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


@pytest.mark.parametrize("kind", COUNTERPARTS, ids=lambda kind: kind.__name__)
@settings(deadline=None)
@given(data=st.data())
def test_a_layer_agrees_with_its_counterpart(kind: type[Layer], data: st.DataObject) -> None:
    counterpart = COUNTERPARTS[kind]
    layer = data.draw(counterpart.layers, "layer")
    input_shape = data.draw(counterpart.shapes, "shape")
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
