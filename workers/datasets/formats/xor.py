"""Exclusive or: four points that no affine map tells apart.

Source: docs/mathematics.md#5-vector-layers.
"""

from dataclasses import dataclass

import numpy as np

from sumgrad.workers.datasets.dataset import Dataset, Description, Split


@dataclass(frozen=True)
class Xor:
    """The points (0, 0), (0, 1), (1, 0), (1, 1) and the classes 0, 1, 1, 0.

    There are no other points to hold out: the test rows are the training rows.
    """

    def describe(self) -> Description:
        """Constants."""
        return Description((2,), train_rows=4, test_rows=4, classes=2, target_shape=None)

    def load(self) -> Dataset:
        """Raises nothing."""
        x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
        points = Split(x, np.array([0, 1, 1, 0], np.int64), scale=1.0)
        return Dataset(self.describe(), train=points, test=points)
