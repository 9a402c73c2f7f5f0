"""The reduction: total and update have the same bits however the vector is taken apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from gradient_check import Array

from trainer.server import reduction
from trainer.server.reduction import THREADED_SIZE, Reduction
from trainer.update_rules import SGD, Momentum, UpdateRule
from workers.tree import Node, cover

# One element, less than a block, block edges, and enough for a second thread.
SIZES = (1, 100, reduction.BLOCK, reduction.BLOCK + 1, THREADED_SIZE - 1, THREADED_SIZE + 77)
BLOCKS = (1000, 1 << 12, 1 << 15, 1 << 30)


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
@pytest.mark.parametrize("rule", [SGD(0.1), Momentum(0.1, 0.9)], ids=["sgd", "momentum"])
def test_the_gradient_is_divided_once_and_applied(rule: UpdateRule, size: int) -> None:
    (total,) = leaves(1, size)
    weights = np.linspace(-1, 1, size, dtype=np.float32)
    expected, expected_state = weights.copy(), rule.init(size)
    state = rule.init(size)
    with opened(size) as arithmetic:
        for _ in range(3):
            rule.update(expected, total / np.float32(48), expected_state)
            arithmetic.apply(rule, weights, total.copy(), 48, state)
    assert weights.tobytes() == expected.tobytes()
    for name, value in expected_state.items():
        assert state[name].tobytes() == value.tobytes()


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
            arithmetic.apply(rule, weights, total, 7, state)
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
    with opened(size) as arithmetic:
        total = arithmetic.total(ALONE, sums, 5)
    assert total is not None
    assert total.tobytes() == expected.tobytes()


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
