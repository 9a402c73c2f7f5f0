"""Update rules: one contract for every row of the table."""

from __future__ import annotations

import dataclasses
import math
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from sumgrad.layers import InvalidHyperparameterError
from sumgrad.trainer.arithmetic.update_rules import (
    SGD,
    UPDATE_RULES,
    Adagrad,
    Adam,
    AdamW,
    Momentum,
    Nesterov,
    RMSProp,
    UpdateRule,
)

from support.gradient_check import Array

STEPS = 20
SIZE = 1000

Recurrence = Callable[[float, list[float]], Iterator[float]]


def sgd_by_hand(w: float, gradients: list[float]) -> Iterator[float]:
    for g in gradients:
        w = w - 0.05 * g
        yield w


def momentum_by_hand(w: float, gradients: list[float]) -> Iterator[float]:
    v = 0.0
    for g in gradients:
        v = 0.9 * v + g
        w = w - 0.05 * v
        yield w


def nesterov_by_hand(w: float, gradients: list[float]) -> Iterator[float]:
    """Sutskever et al. 2013, equations 3 and 4: the gradient is taken at W̃ + μ U, and those
    points are the weights here; U = −λ V."""
    u, w_tilde = 0.0, w
    for g in gradients:
        u = 0.9 * u - 0.05 * g
        w_tilde = w_tilde + u
        yield w_tilde + 0.9 * u


def adagrad_by_hand(w: float, gradients: list[float]) -> Iterator[float]:
    seen: list[float] = []
    for g in gradients:
        seen.append(g)
        w = w - 0.05 * g / (math.sqrt(math.fsum(s * s for s in seen)) + 1e-10)
        yield w


def rmsprop_by_hand(w: float, gradients: list[float]) -> Iterator[float]:
    mean_square = 0.0
    for g in gradients:
        mean_square = 0.95 * mean_square + 0.05 * g**2
        w = w - 0.05 * g / (math.sqrt(mean_square) + 1e-4)
        yield w


def adam_by_hand(w: float, gradients: list[float], decay: float = 0.0) -> Iterator[float]:
    m = v = 0.0
    for t, g in enumerate(gradients, 1):
        m = 0.8 * m + (1 - 0.8) * g
        v = 0.99 * v + (1 - 0.99) * g**2
        m_hat, v_hat = m / (1 - 0.8**t), v / (1 - 0.99**t)
        w = w - 0.05 * (m_hat / (math.sqrt(v_hat) + 1e-4) + decay * w)
        yield w


def adamw_by_hand(w: float, gradients: list[float]) -> Iterator[float]:
    return adam_by_hand(w, gradients, decay=0.3)


class Case(NamedTuple):
    """A rule under contract.

    by_hand: its recurrence for one weight, in float64: the weight after each step.
    """

    rule: UpdateRule
    by_hand: Recurrence


CASES = [
    Case(SGD(0.05), sgd_by_hand),
    Case(Momentum(0.05, 0.9), momentum_by_hand),
    Case(Momentum(0.05, 0.0), sgd_by_hand),
    Case(Momentum(0.05), momentum_by_hand),
    Case(Nesterov(0.05), nesterov_by_hand),
    Case(Nesterov(0.05, 0.0), sgd_by_hand),
    Case(Adagrad(0.05), adagrad_by_hand),
    Case(RMSProp(0.05, 0.95, 1e-4), rmsprop_by_hand),
    Case(Adam(0.05, 0.8, 0.99, 1e-4), adam_by_hand),
    Case(AdamW(0.05, 0.8, 0.99, 1e-4, 0.3), adamw_by_hand),
    Case(AdamW(0.05, 0.8, 0.99, 1e-4, 0.0), adam_by_hand),
]

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.rule))


def start(size: int = SIZE) -> tuple[Array, list[Array]]:
    """Weights, and a gradient for every step."""
    rng = np.random.default_rng(1)
    weights = rng.standard_normal(size).astype(np.float32)
    return weights, [rng.standard_normal(size).astype(np.float32) for _ in range(STEPS)]


def test_every_rule_of_the_table_is_under_contract() -> None:
    assert {type(case.rule) for case in CASES} == set(UPDATE_RULES.values())


@every_case
def test_the_weights_follow_the_recurrence(case: Case) -> None:
    weights, gradients = start(size=50)
    courses = [
        list(case.by_hand(float(w), [float(gradient[i]) for gradient in gradients]))
        for i, w in enumerate(weights)
    ]
    state = case.rule.init(len(weights))
    for step, gradient in enumerate(gradients):
        case.rule.update(weights, gradient.copy(), state, 0.05, step + 1)
        expected = [course[step] for course in courses]
        np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-6)


@every_case
def test_the_learning_rate_of_the_step_counts_and_not_that_of_the_rule(case: Case) -> None:
    other = dataclasses.replace(case.rule, learning_rate=7.0)  # type: ignore[type-var]
    found = []
    for rule in (case.rule, other):
        weights, gradients = start()
        state = rule.init(SIZE)
        for step, gradient in enumerate(gradients, 1):
            rule.update(weights, gradient, state, 0.01 * step, step)
        found.append(weights.tobytes())
    assert found[0] == found[1]


@every_case
def test_blocks_give_the_bits_of_the_whole(case: Case) -> None:
    whole, gradients = start()
    blocks = whole.copy()
    state, block_state = case.rule.init(SIZE), case.rule.init(SIZE)
    for step, gradient in enumerate(gradients, 1):
        case.rule.update(whole, gradient.copy(), state, 0.05, step)
        for part in (slice(700, SIZE), slice(0, 1), slice(1, 700)):
            views = {name: value[part] for name, value in block_state.items()}
            case.rule.update(blocks[part], gradient[part].copy(), views, 0.05, step)
    assert blocks.tobytes() == whole.tobytes()
    for name, value in state.items():
        assert block_state[name].tobytes() == value.tobytes()


@every_case
def test_state_is_float32_vectors_of_the_weights_length(case: Case) -> None:
    for value in case.rule.init(SIZE).values():
        assert value.dtype == np.float32
        assert value.shape == (SIZE,)


SCRATCH = (Adagrad, RMSProp)
"""Rules that need g and g² at once, and so one more vector of the block's length."""


@every_case
def test_an_update_takes_no_new_memory_or_one_scratch_vector(case: Case) -> None:
    size = 1 << 20
    weights, gradient = np.ones(size, np.float32), np.ones(size, np.float32)
    state = case.rule.init(size)
    tracemalloc.start()
    try:
        case.rule.update(weights, gradient, state, 0.05, 1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    vectors = 1 if isinstance(case.rule, SCRATCH) else 0
    assert peak < (vectors + 1 / 16) * weights.nbytes


def test_the_measure_of_memory_sees_a_temporary_vector() -> None:
    weights = np.ones(1 << 20, np.float32)
    tracemalloc.start()
    try:
        weights -= 0.05 * weights
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak >= weights.nbytes


@every_case
def test_a_zero_gradient_at_the_start_changes_only_what_decays(case: Case) -> None:
    weights, _ = start()
    decay = 0.05 * getattr(case.rule, "weight_decay", 0.0)
    expected = weights * np.float32(1 - decay)
    case.rule.update(weights, np.zeros(SIZE, np.float32), case.rule.init(SIZE), 0.05, 1)
    assert weights.tobytes() == expected.tobytes()


@every_case
def test_gradients_of_any_size_leave_the_weights_finite(case: Case) -> None:
    gradient = np.array([1e-45, -1e-38, 1e-20, -1.0, 1e15], np.float32)
    weights, state = np.ones(5, np.float32), case.rule.init(5)
    for step in range(1, 4):
        case.rule.update(weights, gradient.copy(), state, 0.05, step)
    assert np.isfinite(weights).all()


@every_case
def test_a_rule_keeps_nothing_to_itself(case: Case) -> None:
    found = []
    for _ in range(2):
        weights, gradients = start()
        state = case.rule.init(SIZE)
        for step, gradient in enumerate(gradients, 1):
            case.rule.update(weights, gradient, state, 0.05, step)
        found.append(weights.tobytes())
    assert found[0] == found[1]
    with pytest.raises(dataclasses.FrozenInstanceError):
        case.rule.learning_rate = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("rule", [Adam(0.1), AdamW(0.1, weight_decay=0.0)], ids=str)
def test_adams_first_step_is_the_learning_rate_against_the_gradients_sign(rule: Adam) -> None:
    weights, gradient = np.zeros(3, np.float32), np.array([-5.0, 1e-3, 200.0], np.float32)
    rule.update(weights, gradient, rule.init(3), 0.1, 1)
    np.testing.assert_allclose(weights, [0.1, -0.1, -0.1], rtol=2e-5)


@pytest.mark.parametrize("rule", UPDATE_RULES.values())
@pytest.mark.parametrize("rate", [0.0, -0.1, math.nan, math.inf])
def test_a_learning_rate_out_of_range_is_refused(rule: Callable[..., Any], rate: float) -> None:
    with pytest.raises(InvalidHyperparameterError, match="learning_rate: must be a finite"):
        rule(learning_rate=rate)


SHARES = [
    (Momentum, "momentum"),
    (Nesterov, "momentum"),
    (RMSProp, "decay"),
    (Adam, "beta1"),
    (Adam, "beta2"),
    (AdamW, "beta1"),
    (AdamW, "beta2"),
]


@pytest.mark.parametrize(("rule", "field"), SHARES)
@pytest.mark.parametrize("value", [-0.1, 1.0, math.nan, math.inf])
def test_a_share_out_of_range_is_refused(
    rule: Callable[..., Any], field: str, value: float
) -> None:
    with pytest.raises(InvalidHyperparameterError, match=rf"{field}: must be in \[0, 1\)"):
        rule(learning_rate=0.1, **{field: value})


@pytest.mark.parametrize("rule", [Adagrad, RMSProp, Adam, AdamW])
@pytest.mark.parametrize("epsilon", [0.0, 1e-50, -1e-8, math.nan, math.inf])
def test_an_epsilon_that_is_no_help_in_float32_is_refused(
    rule: Callable[..., Any], epsilon: float
) -> None:
    with pytest.raises(InvalidHyperparameterError, match=r"epsilon: must be a finite number > 1"):
        rule(learning_rate=0.1, epsilon=epsilon)


@pytest.mark.parametrize("decay", [-0.1, math.nan, math.inf])
def test_a_weight_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(InvalidHyperparameterError, match="weight_decay: must be a finite"):
        AdamW(0.1, weight_decay=decay)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(InvalidHyperparameterError) as caught:
        Momentum(-1.0, 2.0)
    assert [field for field, _ in caught.value.problems] == ["learning_rate", "momentum"]
    with pytest.raises(InvalidHyperparameterError) as caught:
        AdamW(-1.0, 2.0, 2.0, -1.0, -1.0)
    assert [field for field, _ in caught.value.problems] == [
        "learning_rate", "beta1", "beta2", "epsilon", "weight_decay",
    ]  # fmt: skip
