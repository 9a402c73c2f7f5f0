"""Layers: one contract for every row of the table, then what is particular to each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from gradient_check import KINK_DISTANCE, Array, assert_gradient

from layers import LAYERS, Affine, AffineReLU, Flatten, InvalidHyperparameterError, Layer, ReLU
from layers.arrays import Params, Shape

ROWS = 5


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


class Case(NamedTuple):
    """A layer under contract.

    oracle: its forward pass, written independently and naively.
    kinks: values that are 0 where the layer has no derivative.
    """

    layer: Layer
    input_shape: Shape
    oracle: Callable[[Params, Array], Array]
    kinks: Callable[[Params, Array], Array] = lambda params, x: np.ones(1)


CASES = [
    Case(Affine(3), (4,), affine_by_loops),
    Case(Affine(2), (3, 2, 2), affine_by_loops),
    Case(AffineReLU(3), (4,), affine_relu_by_loops, kinks=affine_by_loops),
    Case(AffineReLU(2), (3, 2, 2), affine_relu_by_loops, kinks=affine_by_loops),
    Case(Flatten(), (4,), flatten_by_loops),
    Case(Flatten(), (3, 2, 2), flatten_by_loops),
    Case(ReLU(), (4,), relu_by_loops, kinks=lambda params, x: x),
    Case(ReLU(), (3, 2, 2), relu_by_loops, kinks=lambda params, x: x),
]

every_case = pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{type(case.layer).__name__}-{case.input_shape}"
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


def run(case: Case, drawn: Drawn) -> tuple[Array, Array, Params]:
    """Y, δX and the parameter gradients."""
    y, backward = case.layer.forward(drawn.params, drawn.x)
    dx = backward(drawn.dy, drawn.grads)
    assert dx is not None
    return y, dx, drawn.grads


def test_every_layer_of_the_table_is_under_contract() -> None:
    assert {type(case.layer) for case in CASES} == set(LAYERS.values())


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
    y, _ = case.layer.forward(drawn.params, drawn.x)
    np.testing.assert_allclose(y, case.oracle(drawn.params, drawn.x), rtol=1e-12, atol=1e-12)


@every_case
@pytest.mark.parametrize("rows", [1, ROWS])
def test_the_input_gradient_agrees_with_central_differences(case: Case, rows: int) -> None:
    drawn = draw(case, rows)
    _, dx, _ = run(case, drawn)

    def fed_back(x: Array) -> float:
        return float(np.vdot(drawn.dy, case.layer.forward(drawn.params, x)[0]))

    assert_gradient(fed_back, drawn.x, dx)


@every_case
@pytest.mark.parametrize("rows", [1, ROWS])
def test_parameter_gradients_agree_with_central_differences(case: Case, rows: int) -> None:
    drawn = draw(case, rows)
    _, _, grads = run(case, drawn)
    for name in drawn.params:

        def fed_back(value: Array, name: str = name) -> float:
            params = {**drawn.params, name: value}
            return float(np.vdot(drawn.dy, case.layer.forward(params, drawn.x)[0]))

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


@every_case
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


@every_case
def test_skipping_the_input_gradient_changes_nothing_else(case: Case) -> None:
    asked = draw(case)
    run(case, asked)
    skipped = draw(case)
    _, backward = case.layer.forward(skipped.params, skipped.x)
    assert backward(skipped.dy, skipped.grads, False) is None
    for name, grad in asked.grads.items():
        np.testing.assert_array_equal(skipped.grads[name], grad)


@every_case
def test_arrays_need_not_be_contiguous(case: Case) -> None:
    drawn = draw(case)
    y, dx, grads = run(case, drawn)

    def strided(array: Array) -> Array:
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]))
        wide[..., ::2] = array
        return np.asfortranarray(wide)[..., ::2]

    params = {name: strided(value) for name, value in drawn.params.items()}
    spread = Drawn(params, strided(drawn.x), strided(drawn.dy), draw(case).grads)
    assert not spread.x.flags.c_contiguous
    y2, dx2, grads2 = run(case, spread)
    np.testing.assert_allclose(y2, y, rtol=1e-12)
    np.testing.assert_allclose(dx2, dx, rtol=1e-12)
    for name, grad in grads.items():
        np.testing.assert_allclose(grads2[name], grad, rtol=1e-12)


@every_case
def test_nothing_is_remembered_between_batches(case: Case) -> None:
    first, second = draw(case), draw(case, seed=2)
    _, expected, _ = run(case, draw(case))
    _, backward = case.layer.forward(first.params, first.x)
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
    if first:
        assert any((other[name] != value).any() for name, value in first.items())


@pytest.mark.parametrize("layer", [Affine(300), AffineReLU(300)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_start_with_the_variance_of_he_and_biases_at_zero(
    layer: Affine, dtype: type
) -> None:
    params = {"W": np.empty((300, 400), dtype), "b": np.full(300, np.nan, dtype)}
    layer.init(np.random.default_rng(1), params)
    assert params["W"].std() == pytest.approx((2 / 400) ** 0.5, rel=0.01)
    assert abs(params["W"].mean()) < 1e-3
    assert not params["b"].any()


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


def test_the_derivative_of_relu_at_zero_is_zero() -> None:
    y, backward = ReLU().forward({}, np.array([[-1.0, -0.0, 0.0, 1.0]]))
    np.testing.assert_array_equal(y, [[0, 0, 0, 1]])
    np.testing.assert_array_equal(backward(np.ones((1, 4)), {}), [[0, 0, 0, 1]])
