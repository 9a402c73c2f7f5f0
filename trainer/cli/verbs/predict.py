"""``sumgrad predict``: rows from a NumPy file, scores to stdout or to a file."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sumgrad.trainer.cli.help import App
from sumgrad.trainer.cli.options import RUNS, Address, RunId
from sumgrad.trainer.cli.output import Document
from sumgrad.trainer.cli.run_ids import find_run
from sumgrad.trainer.cli.service_client import connect
from sumgrad.trainer.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sumgrad.trainer.client.prediction import Prediction

app = App()


@app.command(rich_help_panel=RUNS)
def predict(
    run_id: RunId,
    rows: Annotated[
        Path, typer.Option("--input", metavar="FILE", help="Rows: .npy, or .npz with --array.")
    ],
    array: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which array of a .npz file.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the scores to this .npy file instead of JSON."),
    ] = None,
    step: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="By the snapshot of step N.  [default: newest]"),
    ] = None,
    address: Address = None,
) -> None:
    """Compute scores, and classes where there are any, of rows by the network of a run.

    Rows are as the network sees them in training.
    """
    x = read_input(rows, array)
    with connect(address) as client:
        run_id = find_run(client, run_id)
        found = client.predict(run_id, x, step)
    if output is None:
        print_prediction(found)
        return
    try:
        write_scores(found, output)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from None
    print(output)


def read_input(path: Path, name: str | None) -> NDArray[Any]:
    """The rows of a .npy file, or of an array of a .npz file.

    Raises:
        UsageError: they cannot be read, or are no rows of floats.
    """
    from sumgrad.trainer.client.prediction import checked_rows
    from sumgrad.workers.datasets.dataset import DatasetError
    from sumgrad.workers.datasets.reading.npy_file import read_rows

    try:
        return checked_rows(read_rows(path, name))
    except (DatasetError, ValueError) as error:
        raise UsageError(f"--input: {error}") from None


def prediction_document(found: Prediction) -> Document:
    """A prediction as plain data; what is not finite is null."""
    import numpy as np

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
    import numpy as np

    from sumgrad.trainer.durable_file import durable_file

    with durable_file(output) as file:
        np.save(file, found.scores, allow_pickle=False)


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return value if math.isfinite(value) else None
