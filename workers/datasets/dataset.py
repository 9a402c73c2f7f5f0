"""What a run sees of its data, whatever the format on disk."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

NOT_IN_DOCUMENT = {"document": False}
"""Metadata of a source's field that is not the user's to give."""


class DatasetError(ValueError):
    """The data cannot be used: one sentence with the file, what was found, and what to do."""


@dataclass(frozen=True)
class Description:
    """What the headers and labels tell before any sample is loaded.

    sample_shape: shape of one sample, without the batch axis; images are channels-last.
    train_rows, test_rows: samples in each split, at least 1.
    classes: targets are class numbers 0..classes-1; or, where it is None,
    target_shape: targets are float vectors of this shape, without the batch axis.

    Raises ValueError unless exactly one of `classes` and `target_shape` is given.
    """

    sample_shape: tuple[int, ...]
    train_rows: int
    test_rows: int
    classes: int | None
    target_shape: tuple[int, ...] | None

    def __post_init__(self) -> None:
        if (self.classes is None) == (self.target_shape is None):
            raise ValueError("give exactly one of classes and target_shape")


@dataclass(frozen=True, eq=False)
class Split:
    """The samples of one split, as stored, and their targets. Makes both arrays read-only.

    x: (rows, *sample_shape), uint8 or float32, C-contiguous.
    y: (rows,) int64 class numbers, or (rows, *target_shape) float32.
    scale: x times this is what the network sees: 1/255 for image bytes, 1.0 for floats.
    """

    x: NDArray[Any]
    y: NDArray[Any]
    scale: float

    def __post_init__(self) -> None:
        self.x.flags.writeable = False
        self.y.flags.writeable = False

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, rows: NDArray[np.integer]) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Copies of the samples and targets at these row numbers, in this order.

        rows: (n,) integers. Returns x, (n, *sample_shape) float32, scaled, and y, (n, ...).
        Raises IndexError where a row number is not below `len(self)`.
        """
        x = self.x[rows]
        if x.dtype != np.float32 or self.scale != 1.0:
            # Gathering bytes first moves a quarter of the memory; one pass converts and scales.
            x = np.multiply(x, np.float32(self.scale), dtype=np.float32)
        return x, self.y[rows]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A loaded data set."""

    description: Description
    train: Split
    test: Split


class Source(Protocol):
    """A format and its parameters: a frozen dataclass with these two methods."""

    def describe(self) -> Description:
        """Read headers and labels only. Raises DatasetError."""

    def load(self) -> Dataset:
        """Read everything, after the checks of `describe`. Raises DatasetError."""


def channels_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The sample shape of a stored one: (h, w) becomes (h, w, 1), any other stays."""
    return (*shape, 1) if len(shape) == 2 else shape
