"""Sampling: which rows a step reads depends on the seed and the step, and on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sumgrad.workers.sampling import Sampling, default_shards

counts = st.integers(1, 60)
samplings = st.builds(
    Sampling,
    seed=st.integers(0, 2**63 - 1),
    rows=counts,
    batch_size=counts,
    shards=st.integers(1, 12),
)
several = settings(deadline=None)


@several
@given(samplings, st.integers(0, 3))
def test_each_epoch_visits_each_row_once(sampling: Sampling, epoch: int) -> None:
    first = epoch * sampling.steps_per_epoch
    steps = range(first, first + sampling.steps_per_epoch)
    visited = np.concatenate([sampling.step_rows(step) for step in steps])
    np.testing.assert_array_equal(np.sort(visited), np.arange(sampling.rows))


@several
@given(samplings)
def test_steps_are_of_the_batch_size_and_the_last_takes_what_is_left(sampling: Sampling) -> None:
    lengths = [len(sampling.step_rows(step)) for step in range(sampling.steps_per_epoch)]
    assert lengths[:-1] == [sampling.batch_size] * (len(lengths) - 1)
    assert 1 <= lengths[-1] <= sampling.batch_size


@several
@given(samplings, st.integers(0, 200))
def test_shards_are_the_step_cut_in_order(sampling: Sampling, step: int) -> None:
    shards = sampling.shard_rows(step)
    assert len(shards) == sampling.shards
    np.testing.assert_array_equal(np.concatenate(shards), sampling.step_rows(step))
    lengths = [len(rows) for rows in shards]
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.slow
@several
@given(samplings, st.permutations(range(8)))
def test_the_order_of_asking_changes_nothing(sampling: Sampling, order: list[int]) -> None:
    asked = {step: sampling.step_rows(step).copy() for step in order}
    for step in range(8):
        np.testing.assert_array_equal(sampling.step_rows(step), asked[step])


def test_the_number_of_shards_does_not_change_the_rows() -> None:
    for step in range(10):
        rows = [Sampling(1, 50, 7, shards).step_rows(step) for shards in (1, 3, 8)]
        np.testing.assert_array_equal(rows[0], rows[1])
        np.testing.assert_array_equal(rows[0], rows[2])


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [Sampling(seed, 1000, 1000, 1).step_rows(epoch) for seed in (1, 2) for epoch in (0, 1)]
    assert len({order.tobytes() for order in orders}) == 4


def test_a_full_batch_is_all_rows() -> None:
    sampling = Sampling(seed=1, rows=50, batch_size=50, shards=2)
    assert sampling.steps_per_epoch == 1
    assert len(sampling.step_rows(5)) == 50


def test_default_shards_are_a_power_of_two_of_64_rows_or_more_where_it_can() -> None:
    for batch_size in range(1, 3000):
        shards = default_shards(batch_size)
        assert shards.bit_count() == 1
        assert shards <= min(8, batch_size)
        if batch_size >= 2:
            assert shards >= 2
        if batch_size >= 2 * 64:
            assert batch_size // shards >= 64
            # Twice as many would be too many, or their rows too few.
            assert shards == 8 or batch_size // (2 * shards) < 64


def test_default_shards_by_hand() -> None:
    sizes = (1, 2, 3, 64, 128, 255, 256, 512, 60_000)
    assert [default_shards(size) for size in sizes] == [1, 2, 2, 2, 2, 2, 4, 8, 8]
