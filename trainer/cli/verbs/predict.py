"""Rows for a prediction from a file of NumPy's, and what is predicted."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sumgrad.trainer.cli.verbs.show import Document
from sumgrad.trainer.client.prediction import Prediction, checked_rows
from sumgrad.trainer.durable_file import durable_file
from sumgrad.trainer.errors import UsageError
from sumgrad.workers.datasets.dataset import DatasetError
from sumgrad.workers.datasets.reading.npy_file import read_rows


def read_input(path: Path, name: str | None) -> NDArray[Any]:
    """The rows of a .npy file, or of an array of a .npz file.

    Raises:
        UsageError: they cannot be read, or are no rows of floats.
    """
    try:
        return checked_rows(read_rows(path, name))
    except (DatasetError, ValueError) as error:
        raise UsageError(f"--input: {error}") from None


def prediction_document(found: Prediction) -> Document:
    """A prediction as plain data; what is not finite is null."""
    scores = found.scores.tolist()
    if not np.isfinite(found.scores).all():
        scores = _finite(scores)
    return {
        "step": found.step,
        "snapshot": found.snapshot,
        "classes": None if found.classes is None else found.classes.tolist(),
        "scores": scores,
    }


def print_prediction(found: Prediction) -> None:
    """One JSON document on stdout, without spaces, because scores may be many."""
    json.dump(prediction_document(found), sys.stdout, separators=(",", ":"), allow_nan=False)
    print()


def write_scores(found: Prediction, output: Path) -> None:
    """The scores as a .npy file. Raises OSError."""
    with durable_file(output) as file:
        np.save(file, found.scores, allow_pickle=False)


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return value if math.isfinite(value) else None
