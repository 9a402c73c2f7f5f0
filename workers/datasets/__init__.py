"""Where do a run's samples come from? ``DATASETS`` is the table of the formats that it may name."""

from collections.abc import Callable, Mapping

from sumgrad.workers.datasets.dataset import Dataset, DatasetError, Description, Source, Split
from sumgrad.workers.datasets.digest import data_digest
from sumgrad.workers.datasets.formats.diabetes import Diabetes
from sumgrad.workers.datasets.formats.digits import Digits
from sumgrad.workers.datasets.formats.idx import Idx
from sumgrad.workers.datasets.formats.noise import Noise
from sumgrad.workers.datasets.formats.npz import Npz
from sumgrad.workers.datasets.formats.xor import Xor

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
