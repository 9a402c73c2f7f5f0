"""The benchmark table and its synthetic dataset: pure data that every side reads.

Every workload classifies 28×28×1 images into ten classes with cross-entropy and SGD with
momentum. A ReLU follows every `Dense` and `Conv` except the last layer.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

IMAGE_SHAPE = (28, 28, 1)
CLASSES = 10
TRAIN_ROWS = 8192
TEST_ROWS = 512


@dataclass(frozen=True)
class Dense:
    """An affine layer; an image that reaches it is flattened."""

    units: int


@dataclass(frozen=True)
class Conv:
    """A kernel × kernel convolution, stride 1, size kept ("same"), one bias a channel."""

    channels: int
    kernel: int


@dataclass(frozen=True)
class MaxPool:
    """Max pooling over size × size blocks."""

    size: int


Layer = Dense | Conv | MaxPool


@dataclass(frozen=True)
class Workload:
    """One row of the table.

    `batch` is the global mini-batch, over all processes. One repetition is `warmup` steps that
    nobody times, then `steps` timed ones (2 to 3 s of PyTorch DDP on two cores).
    """

    name: str
    title: str
    layers: tuple[Layer, ...]
    batch: int
    learning_rate: float
    steps: int
    warmup: int
    momentum: float = 0.9


_MLP = (Dense(128), Dense(CLASSES))
_WIDE = (Dense(1024), Dense(1024), Dense(CLASSES))
_LENET = (Conv(16, 5), MaxPool(2), Conv(32, 5), MaxPool(2), Dense(128), Dense(CLASSES))

WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("mlp-128", "784-128-10, batch 128", _MLP, 128, 0.1, steps=1000, warmup=100),
        Workload("mlp-1024", "784-128-10, batch 1024", _MLP, 1024, 0.1, steps=500, warmup=50),
        Workload("wide-256", "784-1024-1024-10, batch 256", _WIDE, 256, 0.01, steps=100, warmup=10),
        Workload("lenet-128", "LeNet, batch 128", _LENET, 128, 0.1, steps=160, warmup=10),
    )
}


def write_dataset(path: Path, seed: int = 0) -> None:
    """Write random images (uint8) and labels (int64) to the .npz file `path`.

    Arrays: `x_train` (8192, 28, 28, 1), `y_train` (8192,), `x_test` (512, 28, 28, 1) and
    `y_test` (512,). The same seed gives the same arrays.
    """
    rng = np.random.default_rng(seed)
    arrays: dict[str, NDArray[np.generic]] = {}
    for part, rows in (("train", TRAIN_ROWS), ("test", TEST_ROWS)):
        arrays[f"x_{part}"] = rng.integers(0, 256, (rows, *IMAGE_SHAPE), dtype=np.uint8)
        arrays[f"y_{part}"] = rng.integers(0, CLASSES, rows, dtype=np.int64)
    with path.open("wb") as file:  # given a name, savez would append .npz to it
        np.savez(file, **arrays)
