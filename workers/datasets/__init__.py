"""Data sets: where a run's samples come from, and the table of the formats it may name."""

from collections.abc import Callable, Mapping

from workers.datasets.dataset import Dataset, DatasetError, Description, Source, Split
from workers.datasets.diabetes import Diabetes
from workers.datasets.digest import data_digest
from workers.datasets.digits import Digits
from workers.datasets.idx import Idx
from workers.datasets.noise import Noise
from workers.datasets.npz import Npz
from workers.datasets.xor import Xor

DATASETS: Mapping[str, Callable[..., Source]] = {
    "diabetes": Diabetes,
    "digits": Digits,
    "idx": Idx,
    "noise": Noise,
    "npz": Npz,
    "xor": Xor,
}

__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetError",
    "Description",
    "Diabetes",
    "Digits",
    "Idx",
    "Noise",
    "Npz",
    "Source",
    "Split",
    "Xor",
    "data_digest",
]
