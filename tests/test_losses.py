"""Losses: one contract for every row of the table, then what is particular to each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from gradient_check import Array, assert_gradient

from layers import LOSSES, Loss, ShapeError, Targets
from layers.arrays import Shape
from layers.losses import CrossEntropy, SquaredError

ROWS = 5


def squared_error_by_loops(s: Array, y: Array) -> float:
    return sum((float(b) - float(a)) ** 2 for a, b in zip(s.flat, y.flat, strict=True))


def cross_entropy_by_loops(s: Array, y: Array) -> float:
    return sum(
        -math.log(math.exp(row[label]) / sum(math.exp(score) for score in row))
        for row, label in zip(s.tolist(), y.tolist(), strict=True)
    )


class Case(NamedTuple):
    """A loss under contract.

    targets: draws y for this many rows.
    oracle: the summed loss, written naively.
    """

    loss: Loss
    scores: Shape
    targets: Callable[[np.random.Generator, int], Array]
    oracle: Callable[[Array, Array], float]


CASES = [
    Case(CrossEntropy(), (4,), lambda rng, n: rng.integers(0, 4, n), cross_entropy_by_loops),
    Case(CrossEntropy(), (1,), lambda rng, n: np.zeros(n, np.int64), cross_entropy_by_loops),
    Case(SquaredError(), (3,), lambda rng, n: rng.standard_normal((n, 3)), squared_error_by_loops),
    Case(
        SquaredError(),
        (2, 2, 1),
        lambda rng, n: rng.standard_normal((n, 2, 2, 1)),
        squared_error_by_loops,
    ),
]

every_case = pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{type(case.loss).__name__}-{case.scores}"
)


def draw(case: Case, rows: int = ROWS, dtype: type = np.float64) -> tuple[Array, Array]:
    rng = np.random.default_rng(1)
    s = rng.standard_normal((rows, *case.scores)).astype(dtype)
    y = case.targets(rng, rows)
    return s, y.astype(dtype) if y.dtype == np.float64 else y


def test_every_loss_of_the_table_is_under_contract() -> None:
    assert {type(case.loss) for case in CASES} == set(LOSSES.values())


@every_case
@pytest.mark.parametrize("rows", [1, ROWS])
def test_the_loss_agrees_with_the_formula(case: Case, rows: int) -> None:
    s, y = draw(case, rows)
    loss, _ = case.loss.forward(s, y)
    assert loss == pytest.approx(case.oracle(s, y), rel=1e-12, abs=1e-15)


@every_case
@pytest.mark.parametrize("rows", [1, ROWS])
def test_the_feedback_agrees_with_central_differences(case: Case, rows: int) -> None:
    s, y = draw(case, rows)
    _, ds = case.loss.forward(s, y)
    assert_gradient(lambda scores: case.loss.forward(scores, y)[0], s, ds)


@every_case
def test_inputs_are_left_unchanged(case: Case) -> None:
    s, y = draw(case)
    s_before, y_before = s.copy(), y.copy()
    case.loss.forward(s, y)
    case.loss.correct(s, y)
    np.testing.assert_array_equal(s, s_before)
    np.testing.assert_array_equal(y, y_before)


@every_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_type_of_floats_is_kept_and_the_sum_is_a_float(case: Case, dtype: type) -> None:
    s, y = draw(case, dtype=dtype)
    loss, ds = case.loss.forward(s, y)
    assert type(loss) is float
    assert ds.dtype == dtype
    assert ds.shape == s.shape


@every_case
def test_a_batch_is_the_sum_of_its_points(case: Case) -> None:
    s, y = draw(case)
    loss, ds = case.loss.forward(s, y)
    alone = [case.loss.forward(s[i : i + 1], y[i : i + 1]) for i in range(ROWS)]
    assert sum(one[0] for one in alone) == pytest.approx(loss, rel=1e-12, abs=1e-15)
    np.testing.assert_allclose(np.concatenate([one[1] for one in alone]), ds, rtol=1e-12)


@every_case
def test_arrays_need_not_be_contiguous(case: Case) -> None:
    s, y = draw(case)
    loss, ds = case.loss.forward(s, y)
    wide = np.zeros((2 * ROWS, *case.scores))
    wide[::2] = s
    spread_loss, spread_ds = case.loss.forward(wide[::2], np.repeat(y, 2, axis=0)[::2])
    assert spread_loss == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(spread_ds, ds, rtol=1e-12)


@every_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_scores_give_finite_losses(case: Case, dtype: type) -> None:
    s, y = draw(case, dtype=dtype)
    for huge in (np.full_like(s, 1e4), np.full_like(s, -1e4), np.sign(s) * dtype(1e4)):
        loss, ds = case.loss.forward(huge, y)
        assert math.isfinite(loss)
        assert np.isfinite(ds).all()


def test_cross_entropy_of_a_sure_and_wrong_score_is_its_distance() -> None:
    s = np.array([[1e4, -1e4], [1e4, -1e4]], np.float32)
    loss, ds = CrossEntropy().forward(s, np.array([1, 0]))
    assert loss == 2e4
    np.testing.assert_array_equal(ds, [[1, -1], [0, 0]])


def test_feedback_of_cross_entropy_is_probabilities_less_one_at_the_class() -> None:
    s, y = draw(CASES[0])
    _, ds = CrossEntropy().forward(s, y)
    p = np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ds, p - np.eye(4)[y], rtol=1e-12)


def test_float32_losses_are_summed_in_float64() -> None:
    s = np.ones((1001, 1), np.float32)
    s[0] = 1e4
    assert SquaredError().forward(s, np.zeros_like(s))[0] == 1e8 + 1000


def test_correct_rows_are_those_with_the_largest_score_at_the_class() -> None:
    s = np.array([[0, 2, 1], [3, 2, 1], [0, 0, 1]], np.float32)
    assert CrossEntropy().correct(s, np.array([1, 1, 2])) == 2
    assert CrossEntropy().correct(s, np.array([0, 1, 1])) == 0


def test_correct_has_no_meaning_for_squared_error() -> None:
    assert SquaredError().correct(np.zeros((2, 3)), np.zeros((2, 3))) is None


CLASSES = Targets(classes=10, shape=None)
VECTORS = Targets(classes=None, shape=(3,))


@pytest.mark.parametrize(
    ("loss", "scores", "targets"),
    [(CrossEntropy(), (10,), CLASSES), (SquaredError(), (3,), VECTORS)],
)
def test_scores_that_fit_the_targets_pass(loss: Loss, scores: Shape, targets: Targets) -> None:
    loss.check(scores, targets)


@pytest.mark.parametrize(
    ("loss", "scores", "targets", "message"),
    [
        (CrossEntropy(), (9,), CLASSES, r"scores of shape \(10,\).*the last layer gives \(9,\)"),
        (CrossEntropy(), (5, 2), CLASSES, r"the last layer gives \(5, 2\)"),
        (CrossEntropy(), (3,), VECTORS, "needs class numbers as targets, the data has vectors"),
        (SquaredError(), (4,), VECTORS, r"targets' shape \(3,\), but the last layer gives \(4,\)"),
        (SquaredError(), (3, 1), VECTORS, r"the last layer gives \(3, 1\)"),
        (SquaredError(), (10,), CLASSES, "needs vectors as targets, the data has class numbers"),
    ],
)
def test_scores_that_do_not_fit_the_targets_are_refused(
    loss: Loss, scores: Shape, targets: Targets, message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        loss.check(scores, targets)
