"""The 1,797 handwritten digits that come with scikit-learn: a data set without a download."""

from dataclasses import dataclass

import numpy as np

from sumgrad.workers.datasets.dataset import Dataset, Description, Split


@dataclass(frozen=True)
class Digits:
    """8×8 images of 17 grey levels (0..16), 10 classes; every fifth digit is held out as test."""

    def describe(self) -> Description:
        """Constants, without importing scikit-learn."""
        return Description((8, 8, 1), train_rows=1437, test_rows=360, classes=10, target_shape=None)

    def load(self) -> Dataset:
        """Raises nothing of its own: the data is part of scikit-learn."""
        from sklearn.datasets import load_digits  # here, because importing it takes seconds

        digits = load_digits()
        x = digits.images.astype(np.uint8)[..., np.newaxis]
        y = digits.target.astype(np.int64)
        held_out = np.arange(len(x)) % 5 == 0
        return Dataset(
            self.describe(),
            train=Split(x[~held_out], y[~held_out], scale=1 / 16),
            test=Split(x[held_out], y[held_out], scale=1 / 16),
        )
