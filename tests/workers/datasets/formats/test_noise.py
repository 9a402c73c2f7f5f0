"""Random samples."""

import numpy as np
import pytest

from sumgrad.workers.datasets import (
    Noise,
)

from support.data_files import allocating_at_most, refusal


def test_noise_is_the_same_every_time_and_other_in_the_test_split() -> None:
    first, second = (Noise((2, 3), rows=16, classes=3).load() for _ in range(2))
    for a, b in ((first.train, second.train), (first.test, second.test)):
        np.testing.assert_array_equal(a.x, b.x)
        np.testing.assert_array_equal(a.y, b.y)
    assert not np.isin(first.test.x, first.train.x).any()


def test_noise_lies_between_0_and_1_and_has_every_class() -> None:
    train = Noise((10,), rows=1000, classes=5).load().train
    assert 0 <= train.x.min() < 0.01
    assert 0.99 < train.x.max() < 1
    assert train.x.mean() == pytest.approx(0.5, abs=0.01)
    assert set(train.y.tolist()) == set(range(5))


@pytest.mark.parametrize(("rows", "held_out"), [(1, 1), (8, 1), (15, 1), (16, 2), (64, 8)])
def test_an_eighth_more_rows_of_noise_are_held_out(rows: int, held_out: int) -> None:
    about = Noise((4,), rows, classes=2).describe()
    assert (about.train_rows, about.test_rows) == (rows, held_out)


def test_noise_that_is_too_large_is_refused_before_it_is_made() -> None:
    source = Noise((480, 640, 3), rows=2000, classes=10)
    with allocating_at_most(1 << 20):
        refusal(source, "2250 samples of noise")


def test_loading_noise_takes_the_memory_of_the_samples() -> None:
    source = Noise((100, 100), rows=80, classes=10)
    with allocating_at_most(90 * 40_000 + (1 << 18)):
        source.load()
