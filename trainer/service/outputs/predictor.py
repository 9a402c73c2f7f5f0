"""Predictions by a run's network, computed in a thread, so that other calls go on."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from sumgrad.layers import Network
from sumgrad.layers.base.arrays import Array, Params
from sumgrad.layers.base.hyperparameters import ShapeError
from sumgrad.trainer.service.api.request_limits import InvalidRequestError
from sumgrad.trainer.service.outputs import run_weights
from sumgrad.trainer.service.outputs.run_weights import Place
from sumgrad.trainer.spec.allowed_locations import SpecRoots
from sumgrad.trainer.spec.fit import describe_data
from sumgrad.trainer.spec.messages import spec_of
from sumgrad.trainer.spec.run_spec import RunSpec
from sumgrad.trainer.spec.violations import InvalidSpecError
from sumgrad.trainer.v1 import run_pb2, service_pb2
from sumgrad.trainer.weights.layout import layout
from sumgrad.workers.job import Job
from sumgrad.workers.worker import EVALUATION_ROWS

MAX_ROWS = 65_536
MAX_BYTES = 3 * 2**20
"""Of the rows, and of the scores, of one call; a message has room for the rest beside them."""

MAX_WAITING = 32
MAX_CACHED_BYTES = 256 * 2**20
MAX_CACHED = 64
"""Weights that are kept; for small networks, the specifications take more memory than these."""


class PredictionsBusyError(RuntimeError):
    """Too many predictions are waiting."""


@dataclass(frozen=True)
class Weights:
    """A run's parameters by name, and its specification."""

    spec: RunSpec
    parameters: dict[str, Array]

    @property
    def job(self) -> Job:
        return self.spec.job()

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(array.nbytes for array in self.parameters.values())


class Predictor:
    """Lives on one event loop; reads and computes in one thread, with one BLAS thread.

    Args:
        roots: where the paths of specifications may lead.
    """

    def __init__(self, roots: SpecRoots) -> None:
        self._roots = roots
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predictor")
        self._cache: OrderedDict[tuple[str, int, bool], Weights] = OrderedDict()
        self._waiting = 0

    async def predict(
        self, run: run_pb2.Run, directory: Path, step: int | None, rows: service_pb2.Tensor
    ) -> service_pb2.PredictResponse:
        """The scores and classes of the rows by the run's network.

        Args:
            directory: the run's folder.
            step: as in ``run_weights.find``.

        Raises:
            InvalidRequestError: the rows do not fit the network.
            NoWeightsError, PredictionsBusyError
        """
        x = array_of(rows)
        if self._waiting >= MAX_WAITING:
            raise PredictionsBusyError(
                f"{MAX_WAITING} predictions wait already; try again in a while"
            )
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._predict, run, directory, step, x)
        finally:
            self._waiting -= 1

    def _predict(
        self, run: run_pb2.Run, directory: Path, step: int | None, x: Array
    ) -> service_pb2.PredictResponse:
        place = run_weights.find(run, directory, step, self._roots.snapshots)
        weights = self._weights(run, place)
        with threadpool_limits(1, user_api="blas"):
            s = scores(weights, x)
        classes = weights.job.loss.classes(s)
        return service_pb2.PredictResponse(
            scores=tensor_of(s),
            classes=None if classes is None else classes.tolist(),
            step=place.step,
            snapshot=place.snapshots is not None,
        )

    def _weights(self, run: run_pb2.Run, place: Place) -> Weights:
        key = (run.id, place.step, place.snapshots is not None)
        found = self._cache.pop(key, None)
        if found is None:
            spec = spec_of(run.spec).within(self._roots)
            found = Weights(spec, run_weights.arrays(place))
        self._cache[key] = found
        while len(self._cache) > 1 and self._too_much():
            self._cache.popitem(last=False)
        return found

    def _too_much(self) -> bool:
        kept = self._cache.values()
        return len(kept) > MAX_CACHED or sum(weights.size for weights in kept) > MAX_CACHED_BYTES

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)


def scores(weights: Weights, x: Array) -> Array:
    """(rows, *input) → (rows, *output), in chunks of EVALUATION_ROWS, as in training's evaluation.

    Raises:
        InvalidRequestError: the rows are of another shape than the network's input.
    """
    network = Network(weights.job.layers, x.shape[1:])
    _check(network, weights)
    row_bytes = 4 * math.prod(network.output_shape)
    if len(x) * row_bytes > MAX_BYTES:
        raise InvalidRequestError(
            "rows", f"must be at most {max(1, MAX_BYTES // row_bytes)} in a call, got {len(x)}"
        )
    views = _views(network, weights.parameters)
    found = np.empty((len(x), *network.output_shape), np.float32)
    for start in range(0, len(x), EVALUATION_ROWS):
        stop = start + EVALUATION_ROWS
        found[start:stop] = network.forward(views, x[start:stop])[0]
    return found


def _check(network: Network, weights: Weights) -> None:
    """Check that the network has parameters of these shapes on such rows.

    Raises:
        InvalidRequestError
    """
    try:
        wanted = layout(network)
    except ShapeError as error:
        raise _misfit(network, weights, str(error)) from None
    for name, shape in wanted:
        there = weights.parameters.get(name)
        if there is None or list(there.shape) != shape:
            has = "nothing" if there is None else str(there.shape)
            raise _misfit(network, weights, f"{name} would be {tuple(shape)} and is {has}")


def _misfit(network: Network, weights: Weights, why: str) -> InvalidRequestError:
    """The error for rows of a wrong shape; it names the right one if the data is still there."""
    problem = f"of shape {network.input_shape} do not fit the network"
    try:
        expected = describe_data(weights.spec).sample_shape
    except InvalidSpecError:
        return InvalidRequestError("rows", f"{problem}: {why}")
    return InvalidRequestError("rows", f"{problem}, which takes {expected}: {why}")


def _views(network: Network, parameters: dict[str, Array]) -> list[Params]:
    views: list[Params] = [{} for _ in network.layers]
    for slot in network.slots:
        views[slot.layer][slot.name] = parameters[f"{slot.layer}.{slot.name}"]
    return views


def array_of(rows: service_pb2.Tensor) -> Array:
    """The array that a message holds.

    Raises:
        InvalidRequestError: its shape and values do not agree, or it is too large.
    """
    shape = tuple(rows.shape)
    if len(shape) < 2 or len(shape) > 8 or min(shape) < 1:
        raise InvalidRequestError(
            "rows", f"must have a shape of 2 to 8 dimensions, none of them 0, got {shape[:9]}"
        )
    if shape[0] > MAX_ROWS or len(rows.values) > MAX_BYTES:
        raise InvalidRequestError(
            "rows",
            f"must be at most {MAX_ROWS} and have {MAX_BYTES} bytes in a call, got {shape[0]} of "
            f"{len(rows.values)} bytes",
        )
    if 4 * math.prod(shape) != len(rows.values):
        raise InvalidRequestError(
            "rows",
            f"of shape {shape} take {4 * math.prod(shape)} bytes as float32, got "
            f"{len(rows.values)}",
        )
    x = np.frombuffer(rows.values, "<f4").reshape(shape)
    if not np.isfinite(x).all():
        row = int(np.argwhere(~np.isfinite(x).reshape(len(x), -1).all(axis=1))[0, 0])
        raise InvalidRequestError("rows", f"must be finite, but row {row} is not")
    return x.astype(np.float32, copy=False)


def tensor_of(array: Array) -> service_pb2.Tensor:
    return service_pb2.Tensor(
        shape=array.shape, values=np.ascontiguousarray(array, "<f4").tobytes()
    )
