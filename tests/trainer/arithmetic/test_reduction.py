"""The reduction: total and update have the same bits however the vector is taken apart."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from sumgrad.trainer.arithmetic import reduction
from sumgrad.trainer.arithmetic.reduction import THREADED_SIZE, Reduction
from sumgrad.trainer.arithmetic.update_rules import (
    SGD,
    UPDATE_RULES,
    Descent,
    Momentum,
    State,
    UpdateRule,
)
from sumgrad.workers.summation_tree import Node, cover

from support.gradient_check import Array

# One element, less than a block, block edges, and enough for a second thread.
SIZES = (1, 100, reduction.BLOCK, reduction.BLOCK + 1, THREADED_SIZE - 1, THREADED_SIZE + 77)
BLOCKS = (1000, 1 << 12, 1 << 15, 1 << 30)
RULES = [rule(learning_rate=0.1) for rule in UPDATE_RULES.values()]  # type: ignore[call-arg]
CLIPPED = Descent(Momentum(0.1), weight_decay=0.01, clip_value=0.02, clip_norm=1.0)
every_rule = pytest.mark.parametrize("rule", RULES, ids=UPDATE_RULES)


@contextmanager
def opened(size: int) -> Iterator[Reduction]:
    arithmetic = Reduction(size)
    try:
        yield arithmetic
    finally:
        arithmetic.close()


def leaves(shards: int, size: int) -> list[Array]:
    rng = np.random.default_rng(size)
    return [
        (rng.standard_normal(size) * 10.0 ** rng.uniform(-4, 4, size)).astype(np.float32)
        for _ in range(shards)
    ]


def naive_total(sums: list[Array]) -> Array:
    """The tree over five shards written out: ((0 + 1) + (2 + 3)) + 4."""
    a, b, c, d, e = sums
    return ((a + b) + (c + d)) + e


ALONE = [Node(i, 1) for i in range(5)]


@pytest.mark.parametrize("size", SIZES)
def test_the_total_is_the_tree_sum(size: int) -> None:
    sums = leaves(5, size)
    expected = naive_total(sums)
    with opened(size) as arithmetic:
        total = arithmetic.total(ALONE, sums, 5)
    assert total is not None
    assert total.tobytes() == expected.tobytes()


def test_answers_may_come_in_any_order() -> None:
    sums = leaves(5, 100)
    expected = naive_total(sums)
    order = [3, 0, 4, 2, 1]
    with opened(100) as arithmetic:
        total = arithmetic.total([ALONE[i] for i in order], [sums[i] for i in order], 5)
    assert total is not None
    assert total.tobytes() == expected.tobytes()


def test_inner_nodes_are_taken_as_they_are() -> None:
    a, b, c, d, e = leaves(5, 100)
    expected = naive_total([a, b, c, d, e])
    with opened(100) as arithmetic:
        total = arithmetic.total([*cover(4, 5), *cover(0, 4)], [e, (a + b) + (c + d)], 5)
    assert total is not None
    assert total.tobytes() == expected.tobytes()


def test_one_sum_is_its_own_total() -> None:
    (only,) = leaves(1, 100)
    with opened(100) as arithmetic:
        assert arithmetic.total([Node(0, 1)], [only], 1) is only


@pytest.mark.parametrize("size", SIZES)
@every_rule
def test_the_gradient_is_divided_once_and_applied(rule: UpdateRule, size: int) -> None:
    (total,) = leaves(1, size)
    weights = np.linspace(-1, 1, size, dtype=np.float32)
    expected, expected_state = weights.copy(), rule.init(size)
    state = rule.init(size)
    with opened(size) as arithmetic:
        for step in (1, 2, 3):
            rule.update(expected, total / np.float32(48), expected_state, 0.1, step)
            arithmetic.apply(Descent(rule), weights, total.copy(), 48, state, 0.1, step)
    assert weights.tobytes() == expected.tobytes()
    for name, value in expected_state.items():
        assert state[name].tobytes() == value.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_the_block_size_changes_no_bit(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = set()
    for block in BLOCKS:
        monkeypatch.setattr(reduction, "BLOCK", block)
        weights = np.linspace(-1, 1, size, dtype=np.float32)
        rule = Momentum(0.1, 0.9)
        state = rule.init(size)
        with opened(size) as arithmetic:
            total = arithmetic.total(ALONE, leaves(5, size), 5)
            assert total is not None
            arithmetic.apply(Descent(rule, 0.01, 0.5), weights, total, 7, state, 0.1, 1)
        found.add((weights.tobytes(), state["velocity"].tobytes()))
    assert len(found) == 1


@pytest.mark.parametrize("cores", [1, 2, 64, None])
def test_the_number_of_cores_changes_no_bit(
    cores: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    size = THREADED_SIZE + 77
    sums = leaves(5, size)
    expected = naive_total(sums)
    weights = np.linspace(-1, 1, size, dtype=np.float32)
    expected_weights = weights.copy()
    state, expected_state = CLIPPED.rule.init(size), CLIPPED.rule.init(size)
    clip_and_update(CLIPPED, expected_weights, expected, expected_state)
    with opened(size) as arithmetic:
        total = arithmetic.total(ALONE, sums, 5)
        assert total is not None
        assert total.tobytes() == expected.tobytes()
        arithmetic.apply(CLIPPED, weights, total, 48, state, 0.1, 1)
    assert weights.tobytes() == expected_weights.tobytes()


def norm_by_hand(vector: Array, block: int) -> float:
    """The squares of every block summed in float64, and the blocks' sums exactly."""
    parts = [vector[i : i + block].astype(np.float64) for i in range(0, len(vector), block)]
    return math.sqrt(math.fsum(np.sum(part**2) for part in parts))


@pytest.mark.parametrize("cores", [1, 2, 64, None])
def test_the_norm_has_the_same_bits_at_any_number_of_cores(
    cores: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    vectors = [
        np.random.default_rng(seed).standard_normal(THREADED_SIZE + 77).astype(np.float32)
        for seed in range(8)
    ]
    with opened(THREADED_SIZE + 77) as arithmetic:
        found = [arithmetic.norm(vector) for vector in vectors]
    assert found == [norm_by_hand(vector, 1 << 15) for vector in vectors]
    # Each of two threads with a grid of its own would be another grid for the second half.
    assert found != [norm_by_hand(vector, (1 << 15) + 39) for vector in vectors]
    assert found == pytest.approx([np.linalg.norm(v.astype(np.float64)) for v in vectors])


def clip_and_update(descent: Descent, weights: Array, total: Array, state: State) -> None:
    """What one update of a batch of 48 rows does, with the grid of blocks written out."""
    assert descent.clip_norm is not None
    assert descent.clip_value is not None
    norm = norm_by_hand(total, 1 << 15) / 48
    assert norm > descent.clip_norm
    gradient = total / np.float32(48) * np.float32(descent.clip_norm / norm)
    gradient = np.clip(gradient, -descent.clip_value, descent.clip_value)
    gradient = gradient + np.float32(descent.weight_decay) * weights
    descent.rule.update(weights, gradient, state, 0.1, 1)


def moved(descent: Descent, gradient: list[float], start: float = 0.0) -> list[float]:
    """How far each weight goes against a gradient in a step of rate 1."""
    size = len(gradient)
    weights = np.full(size, start, np.float32)
    with opened(size) as arithmetic:
        total = np.array(gradient, np.float32) * np.float32(2)
        arithmetic.apply(descent, weights, total, 2, descent.rule.init(size), 1.0, 1)
    return [start - float(weight) for weight in weights]


@pytest.mark.parametrize(
    ("descent", "expected"),
    [
        (Descent(SGD(1.0)), [-3.0, 4.0]),
        (Descent(SGD(1.0), clip_norm=5.0), [-3.0, 4.0]),
        (Descent(SGD(1.0), clip_norm=2.5), [-1.5, 2.0]),
        (Descent(SGD(1.0), clip_value=3.5), [-3.0, 3.5]),
        (Descent(SGD(1.0), clip_norm=2.5, clip_value=1.75), [-1.5, 1.75]),
    ],
    ids=str,
)
def test_a_gradient_is_clipped_to_its_norm_and_then_each_element(
    descent: Descent, expected: list[float]
) -> None:
    assert moved(descent, [-3.0, 4.0]) == expected


def test_weight_decay_is_added_to_what_was_clipped() -> None:
    descent = Descent(SGD(1.0), weight_decay=0.5, clip_norm=2.5, clip_value=1.75)
    assert moved(descent, [-3.0, 4.0], start=8.0) == [2.5, 5.75]


def test_a_zero_gradient_has_a_norm() -> None:
    assert moved(Descent(SGD(1.0), clip_norm=1.0), [0.0, 0.0]) == [0.0, 0.0]


def test_the_norm_of_the_largest_gradients_does_not_overflow() -> None:
    largest = [1.5e38, 1.5e38]
    assert moved(Descent(SGD(1.0), clip_norm=1.0), largest) == pytest.approx([0.5**0.5] * 2)


@every_rule
def test_an_update_of_a_long_vector_takes_a_few_blocks_of_memory(rule: UpdateRule) -> None:
    size = 1 << 20
    descent = Descent(rule, weight_decay=0.1, clip_value=1.0, clip_norm=1.0)
    weights, total, state = np.ones(size, np.float32), np.ones(size, np.float32), rule.init(size)
    with opened(size) as arithmetic:
        tracemalloc.start()
        try:
            arithmetic.apply(descent, weights, total, 2, state, 0.1, 1)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 2 * 3 * 4 * reduction.BLOCK


PLACES: dict[str, Callable[[int], int]] = {
    "first": lambda size: 0,
    "inside": lambda size: size // 3,
    "end-of-a-block": lambda size: min(size, reduction.BLOCK) - 1,
    "middle": lambda size: size // 2,
    "last": lambda size: size - 1,
}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [100, reduction.BLOCK + 1, THREADED_SIZE + 77])
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_value_that_is_not_finite_is_found_anywhere(
    place: Callable[[int], int], size: int, value: float
) -> None:
    for shard in (0, 1, 4):
        sums = [np.ones(size, np.float32) for _ in range(5)]
        sums[shard][place(size)] = value
        with opened(size) as arithmetic:
            assert arithmetic.total(ALONE, sums, 5) is None


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_infinities_of_both_signs_do_not_cancel() -> None:
    sums = [np.full(3, value, np.float32) for value in (np.inf, -np.inf)]
    with opened(3) as arithmetic:
        assert arithmetic.total([Node(0, 1), Node(1, 1)], sums, 2) is None


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_a_sum_beyond_float32_is_found() -> None:
    sums = [np.full(3, 3e38, np.float32) for _ in range(2)]
    with opened(3) as arithmetic:
        assert arithmetic.total([Node(0, 1), Node(1, 1)], sums, 2) is None
