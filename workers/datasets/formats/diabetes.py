"""The 442 patients with diabetes that come with scikit-learn: a regression without a download."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sumgrad.workers.datasets.dataset import Dataset, Description, Split


@dataclass(frozen=True)
class Diabetes:
    """Ten measurements of a patient, and how far the disease has gone a year later.

    Every fifth patient is held out as test. Each measurement and the target are standardised:
    minus the training rows' mean, divided by their standard deviation. Source: Efron et al. 2004,
    "Least angle regression".
    """

    def describe(self) -> Description:
        """Constants, without importing scikit-learn."""
        return Description((10,), train_rows=353, test_rows=89, classes=None, target_shape=(1,))

    def load(self) -> Dataset:
        """Raises nothing of its own: the data is part of scikit-learn."""
        from sklearn.datasets import load_diabetes  # here, because importing it takes seconds

        # Scikit-learn's own scaling would let the held-out rows into the mean and the spread.
        patients = load_diabetes(scaled=False)
        held_out = np.arange(len(patients.data)) % 5 == 0
        x_train, x_test = _standardised(patients.data, held_out)
        y_train, y_test = _standardised(patients.target[:, np.newaxis], held_out)
        return Dataset(
            self.describe(),
            train=Split(x_train, y_train, scale=1.0),
            test=Split(x_test, y_test, scale=1.0),
        )


def _standardised(
    values: NDArray[Any], held_out: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The training rows and the held-out rows, by the training rows' mean and spread."""
    train = values[~held_out]
    scaled = ((values - train.mean(axis=0)) / train.std(axis=0)).astype(np.float32)
    return scaled[~held_out], scaled[held_out]
