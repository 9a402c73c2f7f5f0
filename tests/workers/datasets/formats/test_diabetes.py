"""The diabetes patients of scikit-learn."""

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import StandardScaler

from sumgrad.workers.datasets import (
    Diabetes,
)


def test_the_patients_are_those_of_scikit_learn_standardised_by_the_training_rows() -> None:
    x, y = load_diabetes(return_X_y=True, scaled=False)
    test = list(range(0, 442, 5))
    train = [row for row in range(442) if row not in test]
    dataset = Diabetes().load()
    for values, name in ((x, "x"), (y.reshape(-1, 1), "y")):
        oracle = StandardScaler().fit(values[train])
        for split, rows in ((dataset.train, train), (dataset.test, test)):
            expected = oracle.transform(values[rows])
            np.testing.assert_allclose(getattr(split, name), expected, rtol=1e-5, atol=1e-6)
