"""Predictions as a client asks for them: any number of rows, in calls of a bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sumgrad.trainer.v1 import service_pb2

MAX_CALL_BYTES = 2**20
MAX_CALL_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Prediction:
    """
    Attributes:
        scores: (rows, ...) float32, as the network's last layer gives them.
        classes: (rows,) int64, or None where the run's loss has no classes.
        step: updates that the weights have had.
        snapshot: whether they are those of a snapshot, and not of the run's end.
    """

    scores: NDArray[np.float32]
    classes: NDArray[np.int64] | None
    step: int
    snapshot: bool


def requests(
    run_id: str, x: NDArray[Any], step: int | None, rows: int
) -> Iterator[service_pb2.PredictRequest]:
    """A request for every ``rows`` rows of x."""
    for start in range(0, len(x), rows):
        part = np.ascontiguousarray(x[start : start + rows], "<f4")
        tensor = service_pb2.Tensor(shape=part.shape, values=part.tobytes())
        yield service_pb2.PredictRequest(id=run_id, step=step, rows=tensor)


def rows_a_call(x: NDArray[Any], first: service_pb2.PredictResponse) -> int:
    """How many rows fit into a call, by the bytes of one row and of its scores."""
    widest = max(4 * x[0].size, len(first.scores.values), 1)
    return min(MAX_CALL_ROWS, max(1, MAX_CALL_BYTES // widest))


def checked_rows(x: Any) -> NDArray[Any]:
    """
    Raises:
        ValueError: it is no array of rows of floats.
    """
    rows = np.asarray(x)
    if rows.dtype not in (np.float32, np.float64) or rows.ndim < 2 or rows.size == 0:
        raise ValueError(
            "rows must be float32 or float64 of shape (rows, ...), as the network sees them (image "
            f"bytes divided by 255), got {rows.dtype} of shape {rows.shape}"
        )
    return rows


def joined(responses: list[service_pb2.PredictResponse]) -> Prediction:
    """The answers of several calls by the same weights as one."""
    parts = [
        np.frombuffer(r.scores.values, "<f4").reshape(tuple(r.scores.shape)) for r in responses
    ]
    classes = [number for response in responses for number in response.classes]
    return Prediction(
        np.concatenate(parts).astype(np.float32, copy=False),
        np.array(classes, np.int64) if classes else None,
        responses[0].step,
        responses[0].snapshot,
    )
