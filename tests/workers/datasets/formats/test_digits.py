"""The handwritten digits of scikit-learn."""

import numpy as np
from sklearn.datasets import load_digits

from sumgrad.workers.datasets import (
    Digits,
)


def test_the_digits_are_those_of_scikit_learn_and_every_fifth_is_held_out() -> None:
    oracle = load_digits()
    dataset = Digits().load()
    test, train = iter(range(len(dataset.test))), iter(range(len(dataset.train)))
    for i, (image, label) in enumerate(zip(oracle.images, oracle.target, strict=True)):
        split, row = (dataset.test, next(test)) if i % 5 == 0 else (dataset.train, next(train))
        x, y = split.batch(np.array([row]))
        np.testing.assert_array_equal(x[0, :, :, 0], image / 16)
        assert y[0] == label
    assert next(test, None) is next(train, None) is None
