"""Exclusive or."""

import numpy as np

from sumgrad.workers.datasets import (
    Xor,
)


def test_xor_is_the_four_points_of_exclusive_or_in_both_splits() -> None:
    dataset = Xor().load()
    for split in (dataset.train, dataset.test):
        x, y = split.batch(np.arange(4))
        found = {(*map(float, point), int(label)) for point, label in zip(x, y, strict=True)}
        assert found == {(a, b, a ^ b) for a in (0, 1) for b in (0, 1)}
