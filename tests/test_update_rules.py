"""Update rules: one contract for every row of the table."""

from __future__ import annotations

import dataclasses
import math
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from gradient_check import Array

from layers import InvalidHyperparameterError
from trainer.update_rules import SGD, UPDATE_RULES, Momentum, UpdateRule

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
        case.rule.update(weights, gradient.copy(), state)
        expected = [course[step] for course in courses]
        np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-6)


@every_case
def test_blocks_give_the_bits_of_the_whole(case: Case) -> None:
    whole, gradients = start()
    blocks = whole.copy()
    state, block_state = case.rule.init(SIZE), case.rule.init(SIZE)
    for gradient in gradients:
        case.rule.update(whole, gradient.copy(), state)
        for part in (slice(700, SIZE), slice(0, 1), slice(1, 700)):
            views = {name: value[part] for name, value in block_state.items()}
            case.rule.update(blocks[part], gradient[part].copy(), views)
    assert blocks.tobytes() == whole.tobytes()
    for name, value in state.items():
        assert block_state[name].tobytes() == value.tobytes()


@every_case
def test_state_is_float32_vectors_of_the_weights_length(case: Case) -> None:
    for value in case.rule.init(SIZE).values():
        assert value.dtype == np.float32
        assert value.shape == (SIZE,)


@every_case
def test_an_update_takes_no_new_memory(case: Case) -> None:
    size = 1 << 20
    weights, gradient = np.ones(size, np.float32), np.ones(size, np.float32)
    state = case.rule.init(size)
    tracemalloc.start()
    try:
        case.rule.update(weights, gradient, state)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < weights.nbytes / 16


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
def test_a_zero_gradient_at_the_start_changes_nothing(case: Case) -> None:
    weights, _ = start()
    before = weights.copy()
    case.rule.update(weights, np.zeros(SIZE, np.float32), case.rule.init(SIZE))
    assert weights.tobytes() == before.tobytes()


@every_case
def test_a_rule_keeps_nothing_to_itself(case: Case) -> None:
    found = []
    for _ in range(2):
        weights, gradients = start()
        state = case.rule.init(SIZE)
        for gradient in gradients:
            case.rule.update(weights, gradient, state)
        found.append(weights.tobytes())
    assert found[0] == found[1]
    with pytest.raises(dataclasses.FrozenInstanceError):
        case.rule.learning_rate = 1.0  # type: ignore[attr-defined]


@pytest.mark.parametrize("rule", UPDATE_RULES.values())
@pytest.mark.parametrize("rate", [0.0, -0.1, math.nan, math.inf])
def test_a_learning_rate_out_of_range_is_refused(rule: Callable[..., Any], rate: float) -> None:
    with pytest.raises(InvalidHyperparameterError, match="learning_rate: must be a finite"):
        rule(learning_rate=rate)


@pytest.mark.parametrize("momentum", [-0.1, 1.0, math.nan, math.inf])
def test_a_momentum_out_of_range_is_refused(momentum: float) -> None:
    with pytest.raises(InvalidHyperparameterError, match=r"momentum: must be in \[0, 1\)"):
        Momentum(0.1, momentum)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(InvalidHyperparameterError) as caught:
        Momentum(-1.0, 2.0)
    assert [field for field, _ in caught.value.problems] == ["learning_rate", "momentum"]
