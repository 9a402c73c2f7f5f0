"""Losses: one contract for every row of the table, then what is particular to each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import accuracy_score, r2_score, root_mean_squared_error

from sumgrad.layers import LOSSES, Loss, ShapeError, TargetError, Targets
from sumgrad.layers.base.arrays import Shape
from sumgrad.layers.losses import (
    SVM,
    CrossEntropy,
    Logistic,
    Reconstruction,
    SignedLogistic,
    SquaredError,
)

from support.gradient_check import KINK_DISTANCE, Array, assert_gradient

ROWS = 5


def squared_error_by_loops(s: Array, y: Array) -> float:
    return sum((float(b) - float(a)) ** 2 for a, b in zip(s.flat, y.flat, strict=True))


def cross_entropy_by_loops(s: Array, y: Array) -> float:
    return sum(
        -math.log(math.exp(row[label]) / sum(math.exp(score) for score in row))
        for row, label in zip(s.tolist(), y.tolist(), strict=True)
    )


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def logistic_by_loops(s: Array, y: Array) -> float:
    return sum(
        -math.log(sigmoid(score) ** target * (1 - sigmoid(score)) ** (1 - target))
        for score, target in zip(s.flat, y.flat, strict=True)
    )


def signed_logistic_by_loops(s: Array, y: Array) -> float:
    classes = y.dtype.kind == "i"
    return sum(
        -math.log(sigmoid((2 * target - 1 if classes else target) * score))
        for score, target in zip(s.flat, y.flat, strict=True)
    )


def svm_by_loops(s: Array, y: Array) -> float:
    return sum(
        max(0.0, score - row[label] + 1)
        for row, label in zip(s.tolist(), y.tolist(), strict=True)
        for i, score in enumerate(row)
        if i != label
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
    Case(Logistic(), (1,), lambda rng, n: rng.integers(0, 2, n), logistic_by_loops),
    Case(Logistic(), (3,), lambda rng, n: rng.integers(0, 2, (n, 3)) * 1.0, logistic_by_loops),
    Case(Logistic(), (2, 2), lambda rng, n: rng.random((n, 2, 2)), logistic_by_loops),
    Case(SignedLogistic(), (1,), lambda rng, n: rng.integers(0, 2, n), signed_logistic_by_loops),
    Case(
        SignedLogistic(),
        (2, 3),
        lambda rng, n: rng.choice([-1.0, 1.0], (n, 2, 3)),
        signed_logistic_by_loops,
    ),
    Case(SVM(), (4,), lambda rng, n: rng.integers(0, 4, n), svm_by_loops),
    Case(SVM(), (1,), lambda rng, n: np.zeros(n, np.int64), svm_by_loops),
    Case(
        Reconstruction(),
        (6,),
        lambda rng, n: rng.standard_normal((n, 3, 2, 1)),
        squared_error_by_loops,
    ),
    Case(
        Reconstruction(),
        (2, 2),
        lambda rng, n: rng.standard_normal((n, 4)),
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
    if isinstance(case.loss, SVM):  # it has its kinks where a distance is 1
        distances = s - s[np.arange(rows), y][:, np.newaxis] + 1
        assert np.abs(distances).min() > KINK_DISTANCE
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
    case.loss.measure(s, y)
    case.loss.check_values(y)
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
def test_what_is_measured_of_a_batch_is_the_sum_of_its_points(case: Case) -> None:
    s, y = draw(case)
    measured = case.loss.measure(s, y)
    alone = [case.loss.measure(s[i : i + 1], y[i : i + 1]) for i in range(ROWS)]
    assert all(type(value) is float for value in measured)
    np.testing.assert_allclose(np.sum(alone, axis=0), measured, rtol=1e-12, atol=1e-14)


@every_case
def test_no_rows_measure_as_nothing(case: Case) -> None:
    s, y = draw(case)
    assert case.loss.measure(s[:0], y[:0]) == (0,) * len(case.loss.measure(s, y))


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
        metric = value(case.loss, huge, y)
        assert math.isfinite(loss)
        assert np.isfinite(ds).all()
        assert ds.dtype == dtype
        assert metric is None or math.isfinite(metric)


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


def test_logistic_losses_of_a_sure_and_wrong_score_are_its_size() -> None:
    s = np.array([[1e4], [-1e4], [1e4], [-1e4]], np.float32)
    y = np.array([0, 1, 1, 0])
    for loss in (Logistic(), SignedLogistic()):
        total, ds = loss.forward(s, y)
        assert total == 2e4
        np.testing.assert_array_equal(ds, [[1], [-1], [0], [0]])


def test_a_nearly_certain_score_still_has_a_logistic_loss_in_float32() -> None:
    s = np.array([[20], [-20]], np.float32)
    y = np.array([1, 0])
    for loss in (Logistic(), SignedLogistic()):
        assert loss.forward(s, y)[0] == pytest.approx(2 * math.exp(-20), rel=1e-6)


def test_the_two_logistic_losses_are_one_in_two_notations() -> None:
    rng = np.random.default_rng(3)
    s, y = rng.standard_normal((8, 4)), rng.integers(0, 2, (8, 4)) * 1.0
    loss, ds = Logistic().forward(s, y)
    signed_loss, signed_ds = SignedLogistic().forward(s, 2 * y - 1)
    assert signed_loss == pytest.approx(loss, rel=1e-14)
    np.testing.assert_allclose(signed_ds, ds, rtol=1e-14)
    assert SignedLogistic().measure(s, 2 * y - 1) == Logistic().measure(s, y)


def test_svm_feedback_counts_the_classes_that_come_too_close() -> None:
    s = np.array([[2, 2.5, 0.5, 1.5], [0, 0, 5, 0]], np.float32)
    loss, ds = SVM().forward(s, np.array([0, 2]))
    assert loss == 1.5 + 0.5
    np.testing.assert_array_equal(ds, [[-2, 1, 0, 1], [0, 0, 0, 0]])


def test_svm_feedback_at_a_distance_of_just_one_is_zero() -> None:
    loss, ds = SVM().forward(np.array([[3.0, 2.0]]), np.array([0]))
    assert loss == 0
    np.testing.assert_array_equal(ds, [[0, 0]])


def test_reconstruction_compares_in_row_major_order_whatever_lies_in_memory() -> None:
    x = np.arange(12.0).reshape(2, 2, 3)
    s = np.asfortranarray(x.reshape(2, 3, 2))
    assert Reconstruction().forward(s, x)[0] == 0
    assert Reconstruction().forward(s + 1, x)[0] == 12


def test_only_reconstruction_is_unsupervised() -> None:
    assert [name for name, loss in LOSSES.items() if loss.unsupervised] == ["reconstruction"]


# Metrics.


def value(loss: Loss, s: Array, y: Array) -> float | None:
    return loss.metric.value(loss.measure(s, y))


def test_every_loss_names_its_metric() -> None:
    assert {name: loss.metric.name for name, loss in LOSSES.items()} == {
        "cross_entropy": "accuracy",
        "logistic": "accuracy",
        "reconstruction": "rmse",
        "signed_logistic": "accuracy",
        "squared_error": "r2",
        "svm": "accuracy",
    }


@pytest.mark.parametrize("loss", [CrossEntropy(), SVM()])
def test_accuracy_of_class_scores_is_that_of_scikit_learn(loss: Loss) -> None:
    rng = np.random.default_rng(4)
    s, y = rng.standard_normal((50, 4)), rng.integers(0, 4, 50)
    assert value(loss, s, y) == accuracy_score(y, s.argmax(axis=1))


@pytest.mark.parametrize("loss", [Logistic(), SignedLogistic()])
def test_accuracy_of_two_classes_is_that_of_scikit_learn(loss: Loss) -> None:
    rng = np.random.default_rng(4)
    s, y = rng.standard_normal((50, 1)), rng.integers(0, 2, 50)
    assert value(loss, s, y) == accuracy_score(y, s[:, 0] > 0)


@pytest.mark.parametrize(("loss", "low"), [(Logistic(), 0), (SignedLogistic(), -1)])
def test_accuracy_of_vectors_counts_elements(loss: Loss, low: int) -> None:
    rng = np.random.default_rng(4)
    s, y = rng.standard_normal((50, 3)), rng.choice([low, 1.0], (50, 3))
    assert value(loss, s, y) == accuracy_score(y.ravel() == 1, s.ravel() > 0)


def test_of_tied_scores_the_first_is_the_answer() -> None:
    s = np.array([[0, 2, 2], [1, 1, 1]], np.float32)
    assert CrossEntropy().measure(s, np.array([1, 0])) == (2, 2)
    assert CrossEntropy().measure(s, np.array([2, 1])) == (2, 0)


def test_a_logistic_score_of_zero_answers_the_first_class() -> None:
    s = np.zeros((2, 1))
    for loss in (Logistic(), SignedLogistic()):
        assert loss.measure(s, np.array([0, 0])) == (2, 2)


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 2, 1)])
@pytest.mark.parametrize("offset", [0, 1e3])
def test_r2_is_that_of_scikit_learn_weighted_by_variance(shape: Shape, offset: float) -> None:
    rng = np.random.default_rng(5)
    y = (offset + rng.standard_normal((40, *shape)) * 10).astype(np.float32)
    s = (y + rng.standard_normal((40, *shape))).astype(np.float32)
    expected = r2_score(
        y.reshape(40, -1).astype(np.float64),
        s.reshape(40, -1).astype(np.float64),
        multioutput="variance_weighted",
    )
    assert value(SquaredError(), s, y) == pytest.approx(expected, rel=1e-6)


def test_r2_of_means_is_zero_and_of_the_targets_is_one() -> None:
    y = np.array([[1.0, 20.0], [3.0, 60.0]])
    assert value(SquaredError(), np.broadcast_to(y.mean(axis=0), y.shape), y) == 0
    assert value(SquaredError(), y, y) == 1


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(
    st.integers(1, 300),
    arrays.arrays(np.float32, 3, elements=st.floats(-1e6, 1e6, width=32)),
)
def test_r2_has_no_value_where_no_target_varies(rows: int, target: Array) -> None:
    y = np.tile(target, (rows, 1))
    assert value(SquaredError(), y + 1, y) is None


def test_an_element_that_does_not_vary_leaves_r2_to_the_others() -> None:
    y = np.full((300, 2), 1e6 / 3, np.float32)
    y[:, 1] = np.random.default_rng(6).standard_normal(300)
    s = y.copy()
    s[:, 1] += 0.5
    assert value(SquaredError(), s, y) == pytest.approx(value(SquaredError(), s[:, 1:], y[:, 1:]))


def test_r2_survives_a_mean_that_is_large_beside_the_spread() -> None:
    y = 1e6 + np.arange(30, dtype=np.float32)[:, np.newaxis]
    expected = 1 - 30 * 2**2 / (30 * (30**2 - 1) / 12)
    assert value(SquaredError(), y + 2, y) == pytest.approx(expected, rel=1e-5)


def test_rmse_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(7)
    x, s = rng.random((20, 2, 3)), rng.random((20, 6))
    expected = root_mean_squared_error(x.ravel(), s.ravel())
    assert value(Reconstruction(), s, x) == pytest.approx(expected, rel=1e-12)


# What fits and what does not.

CLASSES = Targets(classes=10, shape=None, input=(8, 8, 1))
TWO = Targets(classes=2, shape=None, input=(8, 8, 1))
VECTORS = Targets(classes=None, shape=(3,), input=(8, 8, 1))


@pytest.mark.parametrize(
    ("loss", "scores", "targets"),
    [
        (CrossEntropy(), (10,), CLASSES),
        (SVM(), (10,), CLASSES),
        (SquaredError(), (3,), VECTORS),
        (Logistic(), (1,), TWO),
        (Logistic(), (3,), VECTORS),
        (SignedLogistic(), (1,), TWO),
        (SignedLogistic(), (3,), VECTORS),
        (Reconstruction(), (8, 8, 1), CLASSES),
        (Reconstruction(), (64,), VECTORS),
    ],
)
def test_scores_that_fit_the_targets_pass(loss: Loss, scores: Shape, targets: Targets) -> None:
    loss.check(scores, targets)


@pytest.mark.parametrize(
    ("loss", "scores", "targets", "message"),
    [
        (CrossEntropy(), (9,), CLASSES, r"scores of shape \(10,\).*the last layer gives \(9,\)"),
        (CrossEntropy(), (5, 2), CLASSES, r"the last layer gives \(5, 2\)"),
        (CrossEntropy(), (3,), VECTORS, "needs class numbers as targets, the data has vectors"),
        (SVM(), (9,), CLASSES, r"svm needs scores of shape \(10,\), one a class of the data"),
        (SVM(), (3,), VECTORS, "svm needs class numbers as targets, the data has vectors"),
        (SquaredError(), (4,), VECTORS, r"targets' shape \(3,\), but the last layer gives \(4,\)"),
        (SquaredError(), (3, 1), VECTORS, r"the last layer gives \(3, 1\)"),
        (SquaredError(), (10,), CLASSES, "needs vectors as targets, the data has class numbers"),
        (Logistic(), (1,), CLASSES, "logistic needs two classes or vectors .* has 10 classes"),
        (Logistic(), (2,), TWO, r"scores of shape \(1,\), one for two classes, .* gives \(2,\)"),
        (Logistic(), (4,), VECTORS, r"shape \(3,\), the targets' shape, .* gives \(4,\)"),
        (SignedLogistic(), (1,), CLASSES, "signed_logistic needs two classes or vectors"),
        (SignedLogistic(), (2,), TWO, r"signed_logistic needs scores of shape \(1,\)"),
        (
            Reconstruction(),
            (63,),
            CLASSES,
            r"as many scores as the input's 64 elements, of shape \(8, 8, 1\), .* gives \(63,\)",
        ),
    ],
)
def test_scores_that_do_not_fit_the_targets_are_refused(
    loss: Loss, scores: Shape, targets: Targets, message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        loss.check(scores, targets)


@pytest.mark.parametrize(
    ("loss", "y"),
    [
        (Logistic(), np.array([[0, 0.25], [1, 0.5]], np.float32)),
        (Logistic(), np.array([0, 1])),
        (SignedLogistic(), np.array([[-1, 1]], np.float32)),
        (SignedLogistic(), np.array([0, 1])),
        (SquaredError(), np.array([[-7e9]], np.float32)),
        (CrossEntropy(), np.array([0, 9])),
    ],
)
def test_target_values_with_a_meaning_pass(loss: Loss, y: Array) -> None:
    loss.check_values(y)


@pytest.mark.parametrize(
    ("loss", "bad", "message"),
    [
        (Logistic(), -0.5, "logistic needs values from 0 to 1 as targets, the data has -0.5"),
        (Logistic(), 1.5, "the data has 1.5"),
        (Logistic(), math.nan, "the data has nan"),
        (SignedLogistic(), 0.0, "signed_logistic needs −1 and 1 as targets, the data has 0.0"),
        (SignedLogistic(), 0.5, "the data has 0.5"),
        (SignedLogistic(), math.nan, "the data has nan"),
    ],
)
def test_target_values_without_a_meaning_are_named(loss: Loss, bad: float, message: str) -> None:
    y = np.array([[1, 1], [1, bad]], np.float32)
    with pytest.raises(TargetError, match=message):
        loss.check_values(y)
