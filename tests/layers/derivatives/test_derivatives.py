"""Jacobians, the Hessian, and the gradient check that the product has."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from typing import Any

import numpy as np
import pytest

from sumgrad.layers import LAYERS, Affine, AffineReLU, Flatten, Layer, Network, ReLU, ShapeError
from sumgrad.layers.base.arrays import Array, Params, Shape
from sumgrad.layers.base.context import EVALUATION, Context
from sumgrad.layers.base.layer import Shapes
from sumgrad.layers.derivatives import OneLayer, analytic_jacobians, hessian, numeric_jacobians
from sumgrad.layers.derivatives.gradient_check import TOLERANCE, compare
from sumgrad.layers.losses import CrossEntropy, Loss, SquaredError

# --- Jacobians ----------------------------------------------------------------------------------

FIELDS: dict[str, Any] = {
    "units": 3,
    "rate": 0.5,
    "pieces": 2,
    "channels": 3,
    "kernel": (2, 1),
    "size": (2, 1),
}
"""Values for the fields that have no default."""

INPUT_SHAPES: list[Shape] = [(4,), (2, 2, 2)]


def example(kind: type[Layer]) -> Layer:
    """A small layer of this type."""
    needed = [
        field.name
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]
        if field.default is dataclasses.MISSING
    ]
    return kind(**{name: FIELDS[name] for name in needed})


def fits(layer: Layer, input_shape: Shape) -> bool:
    with contextlib.suppress(ShapeError):
        layer.shapes(input_shape)
        return True
    return False


def drawn(layer: Layer, input_shape: Shape, seed: int = 1) -> tuple[Params, Array]:
    """Random parameters and one sample."""
    rng = np.random.default_rng(seed)
    shapes = layer.shapes(input_shape).params
    return {name: rng.standard_normal(s) for name, s in shapes.items()}, rng.standard_normal(
        input_shape
    )


def assert_jacobians_agree(layer: Layer, input_shape: Shape, context: Context) -> None:
    params, x = drawn(layer, input_shape)
    analytic = analytic_jacobians(layer, params, x, context)
    numeric = numeric_jacobians(layer, params, x, context)
    np.testing.assert_allclose(analytic.x, numeric.x, rtol=1e-6, atol=1e-8)
    assert analytic.params.keys() == numeric.params.keys() == params.keys()
    for name, expected in numeric.params.items():
        np.testing.assert_allclose(analytic.params[name], expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("context", [EVALUATION, Context((7, 3, 1, 0))], ids=["evaluate", "train"])
@pytest.mark.parametrize("name", LAYERS)
def test_analytic_and_numeric_jacobians_of_every_layer_agree(name: str, context: Context) -> None:
    layer = example(LAYERS[name])
    shapes = [shape for shape in INPUT_SHAPES if fits(layer, shape)]
    assert shapes
    for input_shape in shapes:
        assert_jacobians_agree(layer, input_shape, context)


def test_jacobians_of_a_network_agree() -> None:
    network = Network((ReLU(), Flatten(), AffineReLU(5), Affine(4), ReLU(), Affine(3)), (2, 3))
    assert_jacobians_agree(OneLayer(network), (2, 3), EVALUATION)


def test_the_jacobian_of_affine_is_its_matrix() -> None:
    params, x = drawn(Affine(3), (4,))
    np.testing.assert_array_equal(analytic_jacobians(Affine(3), params, x).x, params["W"])


def test_the_jacobian_of_affine_by_its_parameters_picks_inputs() -> None:
    params, x = drawn(Affine(3), (4,))
    J = analytic_jacobians(Affine(3), params, x).params
    dW = J["W"].reshape(3, 3, 4)
    for k in range(3):
        for u in range(3):
            for v in range(4):
                assert dW[k, u, v] == (x[v] if k == u else 0)
    np.testing.assert_array_equal(J["b"], np.eye(3))


def test_the_jacobian_of_relu_is_diagonal_with_ones_where_the_input_is_positive() -> None:
    x = np.array([-1.0, 0.0, 2.0, 3.0])
    np.testing.assert_array_equal(analytic_jacobians(ReLU(), {}, x).x, np.diag([0, 0, 1, 1]))


def test_the_jacobian_of_a_composition_is_the_product_of_jacobians() -> None:
    network = Network((Affine(5), ReLU(), Affine(3)), (4,))
    whole = OneLayer(network)
    params, x = drawn(whole, (4,))
    product = np.eye(4)
    value = x
    for index, layer in enumerate(network.layers):
        own = {n[2:]: p for n, p in params.items() if n.startswith(f"{index}.")}
        product = analytic_jacobians(layer, own, value).x @ product
        value = layer.forward(own, value[np.newaxis])[0][0]
    np.testing.assert_allclose(analytic_jacobians(whole, params, x).x, product, rtol=1e-12)


def test_a_network_as_one_layer_has_its_shapes_work_and_scores() -> None:
    network = Network((Flatten(), AffineReLU(5), Affine(3)), (2, 2))
    whole = OneLayer(network)
    assert whole.shapes((2, 2)) == Shapes(
        {"1.W": (5, 4), "1.b": (5,), "2.W": (3, 5), "2.b": (3,)}, (3,)
    )
    parts = [AffineReLU(5).operations((4,)), Affine(3).operations((5,))]
    assert whole.operations((2, 2)) == tuple(map(sum, zip(*parts, strict=True)))
    params = {name: np.empty(shape) for name, shape in whole.shapes((2, 2)).params.items()}
    whole.init(np.random.default_rng(1), params)
    weights = np.concatenate([value.ravel() for value in params.values()])
    x = np.random.default_rng(2).standard_normal((6, 2, 2))
    np.testing.assert_array_equal(
        whole.forward(params, x)[0], network.forward(network.views(weights), x)[0]
    )


def test_jacobians_leave_their_inputs_unchanged() -> None:
    layer = AffineReLU(3)
    params, x = drawn(layer, (4,))
    for array in (x, *params.values()):
        array.flags.writeable = False
    analytic_jacobians(layer, params, x)
    numeric_jacobians(layer, params, x)


# --- the Hessian --------------------------------------------------------------------------------


def test_the_hessian_of_least_squares_is_twice_the_moments_of_the_inputs() -> None:
    rng = np.random.default_rng(1)
    network = Network((Affine(1),), (4,))
    x, y = rng.standard_normal((9, 4)), rng.standard_normal((9, 1))
    H = hessian(network, SquaredError(), rng.standard_normal(5), x, y)
    X = np.column_stack([x, np.ones(9)])
    np.testing.assert_allclose(H, 2 * X.T @ X, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("layers", "loss"),
    [
        ((Affine(3),), CrossEntropy()),
        ((Affine(4), ReLU(), Affine(3)), CrossEntropy()),
        ((Affine(4), ReLU(), Affine(3)), SquaredError()),
    ],
    ids=["softmax", "relu-softmax", "relu-squares"],
)
def test_the_hessian_is_symmetric_and_that_of_torch(layers: tuple[Layer, ...], loss: Loss) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    network = Network(layers, (3,))
    weights = rng.standard_normal(network.size)
    x = rng.standard_normal((6, 3))
    y = rng.integers(0, 3, 6) if isinstance(loss, CrossEntropy) else rng.standard_normal((6, 3))

    def summed_loss(flat: Any) -> Any:
        value = torch.from_numpy(x)
        for index, layer in enumerate(layers):
            if isinstance(layer, ReLU):
                value = value.relu()
                continue
            W, b = (
                flat[slot.offset : slot.offset + int(np.prod(slot.shape))].reshape(slot.shape)
                for slot in network.slots
                if slot.layer == index
            )
            value = value @ W.T + b
        if isinstance(loss, CrossEntropy):
            return torch.nn.functional.cross_entropy(value, torch.from_numpy(y), reduction="sum")
        return ((value - torch.from_numpy(y)) ** 2).sum()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        expected = torch.autograd.functional.hessian(summed_loss, torch.from_numpy(weights))
    H = hessian(network, loss, weights, x, y)
    np.testing.assert_array_equal(H, H.T)
    np.testing.assert_allclose(H, expected.numpy(), rtol=1e-6, atol=1e-6)


# --- the gradient check -------------------------------------------------------------------------


def sines(x: Array) -> float:
    return float(np.sin(x).sum())


@pytest.mark.parametrize("seed", range(20))
def test_a_right_gradient_is_no_mistake(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(6)
    assert compare(sines, x, np.cos(x), rng).error <= TOLERANCE


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("factor", [1.0005, 0.9995, -1.0, 0.0])
def test_a_wrong_gradient_is_a_mistake_and_no_kink(factor: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(6)
    found = compare(sines, x, factor * np.cos(x), rng)
    assert found.error > TOLERANCE
    assert not found.kink


def positive_part(x: Array) -> float:
    return float(np.maximum(x, 0).sum())


def step(x: Array) -> Array:
    """The derivative of ``positive_part``."""
    return np.greater(x, 0).astype(np.float64)


def test_a_kink_at_the_point_is_no_mistake() -> None:
    x = np.array([0.0, 1.0, -1.0])
    found = compare(positive_part, x, step(x), np.random.default_rng(1))
    assert found.error > TOLERANCE
    assert found.kink


@pytest.mark.parametrize("distance", [3e-6, -3e-7, 3e-8])
def test_a_kink_beside_the_point_is_stepped_around(distance: float) -> None:
    x = np.array([distance, 1.0, -1.0])
    for seed in range(10):
        found = compare(positive_part, x, step(x), np.random.default_rng(seed))
        assert found.error <= TOLERANCE


def test_a_wrong_gradient_beside_a_kink_is_never_right() -> None:
    x = np.array([3e-7, 1.0, -1.0])
    for seed in range(10):
        found = compare(positive_part, x, 1.0005 * step(x), np.random.default_rng(seed))
        assert found.error > TOLERANCE


def test_a_slope_too_small_to_be_seen_beside_rounding_counts_as_right() -> None:
    x = np.random.default_rng(1).standard_normal(6)
    found = compare(lambda p: 1e6 + 1e-9 * sines(p), x, 1e-9 * np.cos(x), np.random.default_rng(2))
    assert found.error <= TOLERANCE


def test_a_wrong_slope_that_the_longest_step_can_see_is_not_lost_in_shorter_ones() -> None:
    x = np.random.default_rng(1).standard_normal(6)
    wrong = 1.0005e-4 * np.cos(x)
    found = [
        compare(lambda p: 1 + 1e-4 * sines(p), x, wrong, np.random.default_rng(seed))
        for seed in range(5)
    ]
    assert max(one.error for one in found) > TOLERANCE


def test_a_constant_has_a_gradient_of_zero() -> None:
    zero = np.zeros(3)
    assert compare(lambda p: 0.0, zero, zero, np.random.default_rng(1)).error == 0
    assert compare(lambda p: 7.0, zero, zero, np.random.default_rng(1)).error == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_a_mistake(value: float) -> None:
    x = np.ones(3)
    found = compare(lambda p: value, x, x, np.random.default_rng(1))
    assert found == (np.inf, False)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_gradient_without_numbers_is_a_mistake(value: float) -> None:
    x = np.ones(3)
    found = compare(sines, x, np.full(3, value), np.random.default_rng(1))
    assert found == (np.inf, False)
