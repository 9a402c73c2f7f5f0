"""Layers: one contract for every row of the table."""

from __future__ import annotations

import dataclasses
import math
import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import DTypeLike

from sumgrad.layers import (
    ELU,
    LAYERS,
    Affine,
    AffineReLU,
    Convolution,
    ConvolutionReLU,
    Dropout,
    Flatten,
    InvalidHyperparameterError,
    Layer,
    LayerNorm,
    Maxout,
    MaxPool,
    MeanPool,
    ReLU,
    Sigmoid,
    Tanh,
)
from sumgrad.layers.base.arrays import Params, Shape
from sumgrad.layers.base.context import EVALUATION, Context, Key, Workspace
from sumgrad.layers.base.hyperparameters import as_pair
from sumgrad.layers.base.layer import Backward
from sumgrad.layers.images.correlation import correlation, samples_at_once
from sumgrad.layers.images.correlation.row_schemes import FastRows, Stacked, row_scheme

from support.gradient_check import KINK_DISTANCE, Array, assert_gradient

ROWS = 5
KEY: Key = (7, 3, 1, 2)


def affine_by_loops(params: Params, x: Array) -> Array:
    def score(sample: Array, weights: Array, bias: float) -> float:
        return bias + sum(w * v for w, v in zip(weights, sample.flat, strict=True))

    units = list(zip(params["W"], params["b"], strict=True))
    return np.array([[score(sample, W, b) for W, b in units] for sample in x])


def relu_by_loops(params: Params, x: Array) -> Array:
    return np.array([v if v > 0 else 0.0 for v in x.flat]).reshape(x.shape)


def affine_relu_by_loops(params: Params, x: Array) -> Array:
    return relu_by_loops({}, affine_by_loops(params, x))


def flatten_by_loops(params: Params, x: Array) -> Array:
    return np.array([list(sample.flat) for sample in x])


def elementwise(function: Callable[[float], float]) -> Callable[[Params, Array], Array]:
    return lambda params, x: np.array([function(float(v)) for v in x.flat]).reshape(x.shape)


def pieces_by_loops(params: Params, x: Array) -> Array:
    """What each piece of each unit gives: rows × units × pieces."""
    W, b = params["W"], params["b"]
    by_piece = [
        affine_by_loops({"W": W[:, piece], "b": b[:, piece]}, x) for piece in range(b.shape[1])
    ]
    return np.stack(by_piece, axis=2)


def maxout_by_loops(params: Params, x: Array) -> Array:
    return np.array([[max(pieces) for pieces in row] for row in pieces_by_loops(params, x)])


def lead_of_the_winner(params: Params, x: Array) -> Array:
    pieces = np.sort(pieces_by_loops(params, x), axis=2)
    return pieces[:, :, -1] - pieces[:, :, -2]


def layer_norm_by_loops(epsilon: float) -> Callable[[Params, Array], Array]:
    def oracle(params: Params, x: Array) -> Array:
        y = np.empty(x.shape)
        for place in np.ndindex(x.shape[:-1]):
            values = [float(v) for v in x[place]]
            mean = math.fsum(values) / len(values)
            variance = math.fsum((v - mean) ** 2 for v in values) / len(values)
            for i, v in enumerate(values):
                scaled = (v - mean) / math.sqrt(variance + epsilon)
                y[(*place, i)] = scaled * params["gain"][i] + params["bias"][i]
        return y

    return oracle


def dropout_by_loops(rate: float) -> Callable[[Params, Array], Array]:
    def oracle(params: Params, x: Array) -> Array:
        seed = np.random.SeedSequence(KEY[0], spawn_key=(2, *KEY[1:]))
        rng = np.random.Generator(np.random.Philox(seed))
        draws = rng.random(x.size, dtype=np.float32)
        kept = [v / (1 - rate) if u >= rate else 0.0 for v, u in zip(x.flat, draws, strict=True)]
        return np.array(kept).reshape(x.shape)

    return oracle


def convolution_by_loops(layer: Convolution) -> Callable[[Params, Array], Array]:
    """The sum over kernel positions of docs/mathematics.md#6-image-layers."""
    (rows, columns), (down, right) = as_pair(layer.kernel), as_pair(layer.stride)
    above, before = as_pair(layer.padding)

    def oracle(params: Params, x: Array) -> Array:
        K = params["K"]
        _, height, width, _ = x.shape
        output_height = (height + 2 * above - rows) // down + 1
        output_width = (width + 2 * before - columns) // right + 1
        y = np.zeros((len(x), output_height, output_width, K.shape[3]))
        for u, v, i, j in np.ndindex(output_height, output_width, rows, columns):
            at_row, at_column = u * down + i - above, v * right + j - before
            if 0 <= at_row < height and 0 <= at_column < width:
                y[:, u, v] += np.einsum("bk,kc->bc", x[:, at_row, at_column], K[i, j])
        if layer.bias == "position":
            for u, v in np.ndindex(output_height, output_width):
                y[:, u, v] += params["b"][u, v]
        if layer.bias == "channel":
            for channel, bias in enumerate(params["b"]):
                y[..., channel] += bias
        return y

    return oracle


def convolution_relu_by_loops(layer: Convolution) -> Callable[[Params, Array], Array]:
    before_relu = convolution_by_loops(layer)
    return lambda params, x: relu_by_loops({}, before_relu(params, x))


def blocks_by_loops(size: tuple[int, int], x: Array) -> Array:
    """The elements of each whole block: rows × output height × output width × channels × block."""
    rows, columns = size
    outputs = (len(x), x.shape[1] // rows, x.shape[2] // columns, x.shape[3])
    blocks = np.empty((*outputs, rows * columns))
    for sample, u, v, channel in np.ndindex(outputs):
        for i, j in np.ndindex(rows, columns):
            element = x[sample, u * rows + i, v * columns + j, channel]
            blocks[sample, u, v, channel, i * columns + j] = element
    return blocks


def max_pool_by_loops(size: tuple[int, int]) -> Callable[[Params, Array], Array]:
    return lambda params, x: blocks_by_loops(size, x).max(axis=4)


def mean_pool_by_loops(size: tuple[int, int]) -> Callable[[Params, Array], Array]:
    return lambda params, x: blocks_by_loops(size, x).mean(axis=4)


def lead_of_the_largest(size: tuple[int, int]) -> Callable[[Params, Array], Array]:
    def lead(params: Params, x: Array) -> Array:
        blocks = np.sort(blocks_by_loops(size, x), axis=4)
        return blocks[..., -1] - blocks[..., -2]

    return lead


SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)
NORMALISED_SHAPES = SHAPES.map(lambda shape: (*shape, shape[-1] + 1))


def images(
    height: int, width: int, channels: tuple[int, int] = (1, 3), step: tuple[int, int] = (1, 1)
) -> st.SearchStrategy[Shape]:
    """Images of this size, and up to four steps larger."""
    return st.tuples(
        st.integers(0, 4).map(lambda more: height + more * step[0]),
        st.integers(0, 4).map(lambda more: width + more * step[1]),
        st.integers(*channels),
    )


class Case(NamedTuple):
    """A layer under contract.

    oracle: its forward pass, written independently and naively.
    kinks: values that are 0 where the layer has no derivative.
    key: of the context's random numbers, which are other ones for each row of a batch.
    shapes: input shapes that the layer takes.
    """

    layer: Layer
    input_shape: Shape
    oracle: Callable[[Params, Array], Array]
    kinks: Callable[[Params, Array], Array] = lambda params, x: np.ones(1)
    key: Key | None = None
    shapes: st.SearchStrategy[Shape] = SHAPES


def max_pooling(
    rows: int, columns: int
) -> tuple[Callable[[Params, Array], Array], Callable[[Params, Array], Array]]:
    """Oracle and kinks."""
    return max_pool_by_loops((rows, columns)), lead_of_the_largest((rows, columns))


def plain(layer: Convolution, input_shape: Shape, shapes: st.SearchStrategy[Shape]) -> Case:
    return Case(layer, input_shape, convolution_by_loops(layer), shapes=shapes)


def with_relu(layer: ConvolutionReLU, input_shape: Shape, shapes: st.SearchStrategy[Shape]) -> Case:
    oracle, kinks = convolution_relu_by_loops(layer), convolution_by_loops(layer)
    return Case(layer, input_shape, oracle, kinks, shapes=shapes)


MANY_CHANNELS = (8, 9)
"""Enough for the fast scheme with four kernel columns."""

CONVOLUTIONS = [
    plain(Convolution(2, 3, padding=1), (4, 5, 2), images(1, 1)),
    plain(
        Convolution(3, (2, 4), stride=(2, 1), padding=(0, 2), bias="position"),
        (5, 4, 2),
        images(2, 1),
    ),
    # The kernel is larger than the image.
    plain(Convolution(2, (5, 6), padding=(2, 3), bias="none"), (3, 2, 1), images(1, 1)),
    # Whole windows lie in the padding.
    plain(Convolution(2, (2, 1), padding=(2, 3)), (2, 2, 2), images(1, 1)),
    # Strides leave out rows and columns.
    plain(Convolution(2, (1, 2), stride=(2, 3)), (5, 8, 1), images(1, 2)),
    plain(Convolution(2, 2, stride=(4, 3), padding=(3, 1)), (3, 8, 2), images(1, 1)),
    plain(Convolution(3, (3, 4), padding=(1, 0)), (7, 5, 8), images(1, 4, MANY_CHANNELS)),
    plain(
        Convolution(2, (5, 4), padding=(0, 3), bias="position"),
        (6, 3, 8),
        images(5, 1, MANY_CHANNELS),
    ),
    plain(
        Convolution(2, (4, 8), stride=(1, 2), padding=(1, 2), bias="none"),
        (4, 5, 8),
        images(2, 4, MANY_CHANNELS),
    ),
    with_relu(ConvolutionReLU(2, 3, padding=1), (4, 5, 2), images(1, 1)),
    with_relu(
        ConvolutionReLU(2, (2, 3), stride=(1, 2), padding=(0, 1), bias="position"),
        (3, 6, 2),
        images(2, 1),
    ),
    with_relu(
        ConvolutionReLU(2, (3, 4), padding=(2, 1), bias="none"),
        (3, 4, 8),
        images(1, 2, MANY_CHANNELS),
    ),
]

CASES = [
    Case(Affine(3), (4,), affine_by_loops),
    Case(Affine(2), (3, 2, 2), affine_by_loops),
    Case(AffineReLU(3), (4,), affine_relu_by_loops, kinks=affine_by_loops),
    Case(AffineReLU(2), (3, 2, 2), affine_relu_by_loops, kinks=affine_by_loops),
    Case(Flatten(), (4,), flatten_by_loops),
    Case(Flatten(), (3, 2, 2), flatten_by_loops),
    Case(ReLU(), (4,), relu_by_loops, kinks=lambda params, x: x),
    Case(ReLU(), (3, 2, 2), relu_by_loops, kinks=lambda params, x: x),
    Case(Tanh(), (4,), elementwise(math.tanh)),
    Case(Tanh(), (3, 2, 2), elementwise(math.tanh)),
    Case(Sigmoid(), (4,), elementwise(lambda v: 1 / (1 + math.exp(-v)))),
    Case(Sigmoid(), (3, 2, 2), elementwise(lambda v: 1 / (1 + math.exp(-v)))),
    Case(
        ELU(),
        (4,),
        elementwise(lambda v: v if v > 0 else math.expm1(v)),
        kinks=lambda params, x: x,
    ),
    Case(
        ELU(alpha=2.5),
        (3, 2, 2),
        elementwise(lambda v: v if v > 0 else 2.5 * math.expm1(v)),
        kinks=lambda params, x: x,
    ),
    Case(Maxout(3, pieces=2), (4,), maxout_by_loops, kinks=lead_of_the_winner),
    Case(Maxout(2, pieces=3), (3, 2, 2), maxout_by_loops, kinks=lead_of_the_winner),
    Case(Maxout(3, pieces=1), (4,), maxout_by_loops),
    Case(LayerNorm(), (4,), layer_norm_by_loops(1e-5), shapes=NORMALISED_SHAPES),
    Case(LayerNorm(0.1), (3, 2, 3), layer_norm_by_loops(0.1), shapes=NORMALISED_SHAPES),
    Case(Dropout(0.4), (4,), lambda params, x: x),
    Case(Dropout(0.4), (4,), dropout_by_loops(0.4), key=KEY),
    Case(Dropout(0.7), (3, 2, 2), dropout_by_loops(0.7), key=KEY),
    *CONVOLUTIONS,
    Case(MaxPool(2), (4, 6, 2), *max_pooling(2, 2), shapes=images(2, 2, step=(2, 2))),
    Case(MaxPool((1, 3)), (3, 6, 2), *max_pooling(1, 3), shapes=images(1, 3, step=(1, 3))),
    Case(MaxPool((3, 2), "drop"), (7, 5, 2), *max_pooling(3, 2), shapes=images(3, 2)),
    Case(MaxPool(1), (3, 2, 2), max_pool_by_loops((1, 1)), shapes=images(1, 1)),
    Case(MeanPool(2), (4, 6, 2), mean_pool_by_loops((2, 2)), shapes=images(2, 2, step=(2, 2))),
    Case(MeanPool((3, 2), "drop"), (7, 5, 2), mean_pool_by_loops((3, 2)), shapes=images(3, 2)),
    Case(MeanPool(1), (3, 2, 2), mean_pool_by_loops((1, 1)), shapes=images(1, 1)),
]


def name(case: Case) -> str:
    training = "" if case.key is None else "-training"
    return f"{type(case.layer).__name__}-{case.input_shape}{training}"


every_case = pytest.mark.parametrize("case", CASES, ids=name)
every_case_without_chance = pytest.mark.parametrize(
    "case", [case for case in CASES if case.key is None], ids=name
)


class Drawn(NamedTuple):
    """Random parameters, a batch away from kinks, feedback, and memory for gradients."""

    params: Params
    x: Array
    dy: Array
    grads: Params


def draw(case: Case, rows: int = ROWS, dtype: type = np.float64, seed: int = 1) -> Drawn:
    rng = np.random.default_rng(seed)
    shapes = case.layer.shapes(case.input_shape)
    params = {name: rng.standard_normal(shape) for name, shape in shapes.params.items()}
    x = rng.standard_normal((rows, *case.input_shape))
    while np.abs(case.kinks(params, x)).min() < KINK_DISTANCE:
        x = rng.standard_normal(x.shape)
    dy = rng.standard_normal((rows, *shapes.output))
    return Drawn(
        {name: value.astype(dtype) for name, value in params.items()},
        x.astype(dtype),
        dy.astype(dtype),
        # What was there before must not show through.
        {name: np.full(shape, np.nan, dtype) for name, shape in shapes.params.items()},
    )


def forward(
    case: Case, params: Params, x: Array, workspace: Workspace | None = None
) -> tuple[Array, Backward]:
    return case.layer.forward(params, x, Context(case.key, workspace))


def run(
    case: Case, drawn: Drawn, workspace: Workspace | None = None
) -> tuple[Array, Array, Params]:
    """Y, δX and the parameter gradients."""
    y, backward = forward(case, drawn.params, drawn.x, workspace)
    dx = backward(drawn.dy, drawn.grads)
    assert dx is not None
    return y, dx, drawn.grads


def test_every_layer_of_the_table_is_under_contract() -> None:
    assert {type(case.layer) for case in CASES} == set(LAYERS.values())


def test_every_way_of_a_convolution_is_under_contract() -> None:
    def kernel_by_phase(case: Case) -> Array:
        assert isinstance(case.layer, Convolution)
        K = np.empty(case.layer.shapes(case.input_shape).params["K"])
        return case.layer.plane(case.input_shape).by_phase(K)

    found = set()
    for case in CONVOLUTIONS:
        assert isinstance(case.layer, Convolution)
        kernel_rows, columns, channels, _ = kernel_by_phase(case).shape
        plane = case.layer.plane(case.input_shape)
        scheme = row_scheme(plane.size.rows, kernel_rows, columns, channels)
        found.add((type(scheme), plane.strided))
    assert found == {(Stacked, False), (Stacked, True), (FastRows, False), (FastRows, True)}
    assert {case.layer.bias for case in CONVOLUTIONS} == {"channel", "position", "none"}


def test_the_gradient_check_passes_a_right_derivative() -> None:
    x = np.random.default_rng(3).standard_normal(6)
    assert_gradient(lambda point: float(np.sin(point).sum()), x, np.cos(x))


def test_the_gradient_check_fails_on_a_derivative_that_is_half_a_thousandth_off() -> None:
    x = np.random.default_rng(3).standard_normal(6)
    with pytest.raises(AssertionError, match="off by a relative"):
        assert_gradient(lambda point: float(np.sin(point).sum()), x, 1.0005 * np.cos(x))


def test_the_gradient_check_fails_when_one_element_is_half_a_thousandth_off() -> None:
    x = np.random.default_rng(3).standard_normal(6)
    wrong = np.cos(x)
    wrong[2] *= 1.0005
    with pytest.raises(AssertionError, match="off by a relative"):
        assert_gradient(lambda point: float(np.sin(point).sum()), x, wrong)


@every_case
def test_arrays_have_the_announced_shapes(case: Case) -> None:
    drawn = draw(case)
    y, dx, grads = run(case, drawn)
    shapes = case.layer.shapes(case.input_shape)
    assert y.shape == (ROWS, *shapes.output)
    assert dx.shape == drawn.x.shape
    assert {name: grad.shape for name, grad in grads.items()} == shapes.params


@every_case
@pytest.mark.parametrize("rows", [1, ROWS])
def test_forward_agrees_with_loops(case: Case, rows: int) -> None:
    drawn = draw(case, rows)
    y, _ = forward(case, drawn.params, drawn.x)
    np.testing.assert_allclose(y, case.oracle(drawn.params, drawn.x), rtol=1e-12, atol=1e-12)


@every_case
@pytest.mark.parametrize("rows", [1, ROWS])
def test_the_input_gradient_agrees_with_central_differences(case: Case, rows: int) -> None:
    drawn = draw(case, rows)
    _, dx, _ = run(case, drawn)

    def fed_back(x: Array) -> float:
        return float(np.vdot(drawn.dy, forward(case, drawn.params, x)[0]))

    assert_gradient(fed_back, drawn.x, dx)


@every_case
@pytest.mark.parametrize("rows", [1, ROWS])
def test_parameter_gradients_agree_with_central_differences(case: Case, rows: int) -> None:
    drawn = draw(case, rows)
    _, _, grads = run(case, drawn)
    for name in drawn.params:

        def fed_back(value: Array, name: str = name) -> float:
            params = {**drawn.params, name: value}
            return float(np.vdot(drawn.dy, forward(case, params, drawn.x)[0]))

        assert_gradient(fed_back, drawn.params[name], grads[name])


@every_case
def test_inputs_are_left_unchanged(case: Case) -> None:
    drawn = draw(case)
    before = [array.copy() for array in (drawn.x, drawn.dy, *drawn.params.values())]
    run(case, drawn)
    for was, now in zip(before, (drawn.x, drawn.dy, *drawn.params.values()), strict=True):
        np.testing.assert_array_equal(now, was)


@every_case
def test_read_only_inputs_will_do(case: Case) -> None:
    drawn = draw(case)
    for array in (drawn.x, drawn.dy, *drawn.params.values()):
        array.flags.writeable = False
    run(case, drawn)


@every_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_type_of_floats_is_kept(case: Case, dtype: type) -> None:
    y, dx, grads = run(case, draw(case, dtype=dtype))
    assert {array.dtype for array in (y, dx, *grads.values())} == {np.dtype(dtype)}


@every_case_without_chance
def test_a_batch_is_the_sum_of_its_points(case: Case) -> None:
    drawn = draw(case)
    y, dx, grads = run(case, drawn)
    points = []
    for i in range(ROWS):
        alone = Drawn(drawn.params, drawn.x[i : i + 1], drawn.dy[i : i + 1], draw(case).grads)
        points.append(run(case, alone))
    np.testing.assert_allclose(np.concatenate([p[0] for p in points]), y, rtol=1e-12)
    np.testing.assert_allclose(np.concatenate([p[1] for p in points]), dx, rtol=1e-12)
    for name, grad in grads.items():
        np.testing.assert_allclose(sum(p[2][name] for p in points), grad, rtol=1e-12)


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=name)
def test_samples_a_few_at_a_time_give_what_all_at_once_give(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(case.layer, Convolution)
    drawn = draw(case, rows=8)
    y, dx, grads = run(case, drawn)
    plane = case.layer.plane(case.input_shape)
    K = plane.by_phase(drawn.params["K"])
    assert samples_at_once(plane.size, K) >= 8
    for budget in range(1000, correlation.WORKING_SET, 1000):
        monkeypatch.setattr(correlation, "WORKING_SET", budget)
        if samples_at_once(plane.size, K) == 3:
            break
    assert samples_at_once(plane.size, K) == 3, "two slices of three and a remainder of two"
    few = draw(case, rows=8)
    y2, dx2, grads2 = run(case, few, Workspace())
    np.testing.assert_allclose(y2, y, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(dx2, dx, rtol=1e-12, atol=1e-12)
    for name, grad in grads.items():
        np.testing.assert_allclose(grads2[name], grad, rtol=1e-12, atol=1e-12)


@every_case
def test_skipping_the_input_gradient_changes_nothing_else(case: Case) -> None:
    asked = draw(case)
    run(case, asked)
    skipped = draw(case)
    _, backward = forward(case, skipped.params, skipped.x)
    assert backward(skipped.dy, skipped.grads, False) is None
    for name, grad in asked.grads.items():
        np.testing.assert_array_equal(skipped.grads[name], grad)


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "every-second": lambda array: _placed(array, np.zeros(2 * np.array(array.shape)), 2),
    "backwards": lambda array: _placed(array, np.zeros(array.shape), -1),
    "first-axis-fastest": lambda array: _placed(array, np.zeros(array.shape, order="F"), 1),
}


def _placed(array: Array, memory: Array, step: int) -> Array:
    """The same values in memory of another layout."""
    view = memory[(slice(None, None, step),) * array.ndim]
    view[...] = array
    return view


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=name)
@settings(deadline=None)
@given(data=st.data())
def test_any_shape_and_any_layout_in_memory_gives_the_same(case: Case, data: st.DataObject) -> None:
    case = case._replace(input_shape=data.draw(case.shapes, "shape"))
    rows = data.draw(st.integers(1, 7), "rows")
    drawn = draw(case, rows, seed=data.draw(st.integers(0, 99), "seed"))
    layout = LAYOUTS[data.draw(st.sampled_from(sorted(LAYOUTS)), "layout")]
    y, dx, grads = run(case, drawn)
    np.testing.assert_allclose(y, case.oracle(drawn.params, drawn.x), rtol=1e-11, atol=1e-11)
    params = {name: layout(value) for name, value in drawn.params.items()}
    elsewhere = Drawn(params, layout(drawn.x), layout(drawn.dy), draw(case, rows).grads)
    y2, dx2, grads2 = run(case, elsewhere)
    np.testing.assert_allclose(y2, y, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(dx2, dx, rtol=1e-11, atol=1e-11)
    for name, grad in grads.items():
        np.testing.assert_allclose(grads2[name], grad, rtol=1e-11, atol=1e-11)


@every_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_workspace_changes_no_bit_however_often_it_is_used(case: Case, dtype: type) -> None:
    workspace = Workspace()
    for seed, rows in ((1, ROWS), (2, ROWS), (3, ROWS - 2), (1, ROWS)):
        alone = draw(case, rows, dtype, seed)
        y, dx, grads = run(case, alone)
        shared = draw(case, rows, dtype, seed)
        y2, dx2, grads2 = run(case, shared, workspace)
        np.testing.assert_array_equal(y2, y)
        np.testing.assert_array_equal(dx2, dx)
        for name, grad in grads.items():
            np.testing.assert_array_equal(grads2[name], grad)


GUARD = 4096
"""Bytes on either side of an array."""


class Guarded(Workspace):
    """Every array is new, holds NaN and lies between bytes that nobody may touch."""

    def __init__(self) -> None:
        super().__init__()
        self._guarded: list[Array] = []

    def empty(self, owner: int, name: str, shape: Shape, dtype: DTypeLike) -> Array:
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        memory = np.full(GUARD + nbytes + GUARD, 0xFF, np.uint8)
        self._guarded.append(memory)
        return memory[GUARD : GUARD + nbytes].view(dtype).reshape(shape)

    def untouched(self) -> bool:
        return all((m[:GUARD] == 0xFF).all() and (m[-GUARD:] == 0xFF).all() for m in self._guarded)


@every_case
@pytest.mark.parametrize("rows", [1, ROWS])
def test_a_pass_neither_relies_on_what_memory_holds_nor_leaves_its_own(
    case: Case, rows: int
) -> None:
    y, dx, grads = run(case, draw(case, rows))
    guarded = Guarded()
    y2, dx2, grads2 = run(case, draw(case, rows), guarded)
    np.testing.assert_allclose(y2, y, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(dx2, dx, rtol=1e-12, atol=1e-12)
    for name, grad in grads.items():
        np.testing.assert_allclose(grads2[name], grad, rtol=1e-12, atol=1e-12)
    assert guarded.untouched()


MANY_ELEMENTS = 400_000
"""Make an activation large beside Python's objects and NumPy's buffers."""


def peak_of_a_second_pass(case: Case) -> float:
    """Bytes that were allocated at once beyond the workspace, as a share of one activation."""
    shapes = case.layer.shapes(case.input_shape)
    rng = np.random.default_rng(1)
    params = {name: rng.standard_normal(shape) for name, shape in shapes.params.items()}
    rows = MANY_ELEMENTS // min(math.prod(case.input_shape), math.prod(shapes.output))
    drawn = Drawn(
        params,
        rng.standard_normal((rows, *case.input_shape)),
        rng.standard_normal((rows, *shapes.output)),
        {name: np.empty(shape) for name, shape in shapes.params.items()},
    )
    workspace = Workspace()
    run(case, drawn, workspace)
    tracemalloc.start()
    try:
        run(case, drawn, workspace)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return peak / min(drawn.x.nbytes, drawn.dy.nbytes)


@pytest.mark.slow
@every_case
def test_a_second_pass_with_a_workspace_allocates_nothing_large(case: Case) -> None:
    assert peak_of_a_second_pass(case) < 0.1


class WithTemporary(ReLU):
    """Right, but a mask of one byte an element is hidden in an expression."""

    def forward(self, params: Params, x: Array, context: Context = EVALUATION) -> Any:
        y, backward = super().forward(params, x, context)
        y *= x > 0
        return y, backward


def test_the_measure_of_allocations_sees_a_temporary_mask() -> None:
    assert peak_of_a_second_pass(Case(WithTemporary(), (4,), relu_by_loops)) >= 0.125


@every_case
def test_nothing_is_remembered_between_batches(case: Case) -> None:
    first, second = draw(case), draw(case, seed=2)
    _, expected, _ = run(case, draw(case))
    _, backward = forward(case, first.params, first.x)
    run(case, second)
    for _ in range(2):
        np.testing.assert_array_equal(backward(first.dy, first.grads), expected)


@every_case
def test_layers_are_values(case: Case) -> None:
    assert case.layer == dataclasses.replace(case.layer)  # type: ignore[type-var]
    assert hash(case.layer) == hash(dataclasses.replace(case.layer))  # type: ignore[type-var]
    with pytest.raises(dataclasses.FrozenInstanceError):
        case.layer.units = 7  # type: ignore[attr-defined]


@every_case
def test_init_follows_the_generator_alone(case: Case) -> None:
    first, second, other = (draw(case).grads for _ in range(3))
    case.layer.init(np.random.default_rng(1), first)
    case.layer.init(np.random.default_rng(1), second)
    case.layer.init(np.random.default_rng(2), other)
    for name, value in first.items():
        assert np.isfinite(value).all()
        np.testing.assert_array_equal(second[name], value)
    for name in {"W", "K"} & set(first):
        assert (other[name] != first[name]).any()


@pytest.mark.parametrize("kind", [Affine, AffineReLU])
@pytest.mark.parametrize("units", [0, -1, 2**31])
def test_a_number_of_units_out_of_range_is_refused(kind: type[Affine], units: int) -> None:
    with pytest.raises(InvalidHyperparameterError, match=f"units: must be .*, got {units}"):
        kind(units)


def test_the_fused_layer_has_the_bits_of_its_two_parts() -> None:
    drawn = draw(CASES[2], dtype=np.float32)
    y, dx, grads = run(CASES[2], drawn)
    affine_y, affine_backward = Affine(3).forward(drawn.params, drawn.x)
    relu_y, relu_backward = ReLU().forward({}, affine_y)
    parts = draw(CASES[2], dtype=np.float32).grads
    through = relu_backward(drawn.dy, {})
    assert through is not None
    np.testing.assert_array_equal(relu_y, y)
    np.testing.assert_array_equal(affine_backward(through, parts), dx)
    for name, grad in grads.items():
        np.testing.assert_array_equal(parts[name], grad)


@pytest.mark.parametrize(
    ("layer", "shape", "counted"),
    [
        # 2 · 3 · 2 · 4 for the product, 6 biases, 3 comparisons; backwards two products, 6
        # additions, and 6 comparisons and products that pick the winner.
        (Maxout(3, pieces=2), (4,), (57, 114)),
        (Tanh(), (2, 3), (6, 18)),
        (Sigmoid(), (2, 3), (24, 18)),
        (ELU(), (2, 3), (24, 18)),
        (Dropout(0.5), (2, 3), (24, 12)),
        (LayerNorm(), (2, 3), (50, 70)),
        # Four outputs of 2 · 3 · 3 products and additions; backwards twice that.
        (Convolution(1, 3, bias="none"), (4, 4, 1), (72, 144)),
        (Convolution(1, 3), (4, 4, 1), (76, 148)),
        (Convolution(2, 3, stride=2, bias="position"), (5, 5, 3), (440, 872)),
        (ConvolutionReLU(1, 3), (4, 4, 1), (80, 152)),
        (MaxPool(2), (4, 6, 1), (24, 24)),
        (MeanPool(2), (4, 6, 1), (24, 6)),
    ],
    ids=repr,
)
def test_operations_are_counted_for_one_sample(
    layer: Layer, shape: Shape, counted: tuple[int, int]
) -> None:
    assert layer.operations(shape) == counted
