"""Random samples of any shape: for dry runs, benchmarks and the study of shapes."""

import math
from dataclasses import dataclass

import numpy as np

from sumgrad.layers.base.hyperparameters import LARGEST_COUNT, at_least, require
from sumgrad.workers.datasets.dataset import Dataset, DatasetError, Description, Split

SEED = 20
MAX_BYTES = 1 << 32
MAX_AXES = 32


@dataclass(frozen=True)
class Noise:
    """Samples uniform in [0, 1), and class numbers that have nothing to do with them.

    shape: of a sample. rows: training samples; an eighth more, at least 1, are held out as test.
    The same samples every time: they follow from these fields and a fixed seed.
    """

    shape: tuple[int, ...]
    rows: int
    classes: int

    def __post_init__(self) -> None:
        require(self, shape=_lengths, rows=at_least(1), classes=at_least(1))

    def describe(self) -> Description:
        """Raises DatasetError where the samples take more than MAX_BYTES."""
        test_rows = max(1, self.rows // 8)
        nbytes = 4 * math.prod(self.shape) * (self.rows + test_rows)
        if nbytes > MAX_BYTES:
            raise DatasetError(
                f"{self.rows + test_rows} samples of noise of shape {self.shape} take {nbytes} "
                f"bytes; at most {MAX_BYTES}, so use fewer rows."
            )
        return Description(self.shape, self.rows, test_rows, self.classes, target_shape=None)

    def load(self) -> Dataset:
        """Raises DatasetError as `describe` does, before anything is made."""
        about = self.describe()
        train = self._split(0, about.train_rows)
        return Dataset(about, train, self._split(1, about.test_rows))

    def _split(self, stream: int, rows: int) -> Split:
        key = np.random.SeedSequence(SEED, spawn_key=(stream,))
        rng = np.random.Generator(np.random.Philox(key))
        x = rng.random((rows, *self.shape), dtype=np.float32)
        return Split(x, rng.integers(0, self.classes, rows), scale=1.0)


def _lengths(shape: tuple[int, ...]) -> str | None:
    if len(shape) > MAX_AXES:
        return f"must have at most {MAX_AXES} elements, got {len(shape)}"
    if shape and all(1 <= length <= LARGEST_COUNT for length in shape):
        return None
    return f"must be a list of whole numbers from 1 to {LARGEST_COUNT}, got {list(shape)}"
