"""Finds and reads the weights of a run: those of its end, or of a snapshot."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load

from sumgrad.layers.base.arrays import Array
from sumgrad.trainer.record import states
from sumgrad.trainer.record.enum_names import state_name
from sumgrad.trainer.snapshots.location import snapshots_of
from sumgrad.trainer.snapshots.snapshot import SnapshotError
from sumgrad.trainer.snapshots.snapshot_store import SnapshotStore
from sumgrad.trainer.snapshots.tensor_file import tensor_file
from sumgrad.trainer.v1 import run_pb2, service_pb2
from sumgrad.trainer.weights.starting_weights import parameters
from sumgrad.trainer.weights.weight_file import WEIGHTS
from sumgrad.workers.host.allowed_paths import ANYWHERE, AllowedPaths

CHUNK_BYTES = 2**20


class NoWeightsError(Exception):
    """A run has no weights that the service can read; the message says what to do."""

    def __init__(self, run_id: str, message: str) -> None:
        super().__init__(message)
        self.run_id = run_id


@dataclass(frozen=True)
class Place:
    """Where weights lie: those of the end, or of a snapshot.

    Attributes:
        step: updates that they have had.
        snapshots: where the snapshot lies; None for the weights of the end.
        roots: where the snapshots' location may lead.
    """

    run_id: str
    step: int
    path: Path
    snapshots: str | None
    roots: AllowedPaths = ANYWHERE


def find(
    run: run_pb2.Run, directory: Path, step: int | None, shared_roots: AllowedPaths = ANYWHERE
) -> Place:
    """The weights that a run has now.

    Args:
        directory: the run's folder.
        step: the number of updates of a snapshot, or of the end; None for the newest.
        shared_roots: where the location of snapshots in a specification may lead.

    Raises:
        NoWeightsError: the run has none, or none of this step.
    """
    path = directory / WEIGHTS
    if run.HasField("result") and step in (None, run.result.steps):
        return Place(run.id, run.result.steps, path, None)
    shared = run.spec.snapshots.location or None
    location, roots = snapshots_of(directory, shared), shared_roots if shared else ANYWHERE
    try:
        steps = SnapshotStore(location, keep=1, roots=roots).steps()
    except SnapshotError as error:
        raise NoWeightsError(run.id, str(error)) from None
    wanted = (steps[-1] if steps else None) if step is None else step
    if wanted is None or wanted not in steps:
        raise NoWeightsError(run.id, _nothing(run, steps, step, location))
    return Place(run.id, wanted, path, location, roots)


def _nothing(run: run_pb2.Run, steps: list[int], step: int | None, location: str) -> str:
    state = state_name(run.state)
    if step is not None:
        known = [*steps, *([run.result.steps] if run.HasField("result") else [])]
        there = ", ".join(map(str, known)) or "none"
        return f"run {run.id} has no weights of step {step} here; there are those of: {there}"
    if states.ended(run):
        return f"run {run.id} is {state}, and left no weights and no snapshot in {location}"
    return (
        f"run {run.id} is {state}, and the service finds no snapshot of it in {location}: wait for "
        "one ([snapshots] every_steps) or for the run's end, or have the snapshots in a place that "
        "the service reaches ([snapshots] location)"
    )


def arrays(place: Place) -> dict[str, Array]:
    """Every parameter by its name.

    Raises:
        NoWeightsError: they cannot be read.
    """
    if place.snapshots is not None:
        return _of_snapshot(place)
    try:
        return load(place.path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise _unreadable(place, error) from None


def download(place: Place) -> Generator[service_pb2.DownloadWeightsResponse]:
    """The safetensors file in pieces, with its size before and its checksum after them.

    Raises:
        NoWeightsError: it cannot be read.
    """
    if place.snapshots is not None:
        pieces = tensor_file(_of_snapshot(place))
        yield from _responses(place, sum(piece.nbytes for piece in pieces), _cut(pieces))
        return
    try:
        file = place.path.open("rb")
    except OSError as error:
        raise _unreadable(place, error) from None
    with file:
        size = os.fstat(file.fileno()).st_size
        try:
            yield from _responses(place, size, iter(lambda: file.read(CHUNK_BYTES), b""))
        except OSError as error:
            raise _unreadable(place, error) from None


def _responses(
    place: Place, size: int, chunks: Iterable[bytes]
) -> Iterator[service_pb2.DownloadWeightsResponse]:
    sha = hashlib.sha256()
    file = service_pb2.WeightsFile(size=size, step=place.step, snapshot=place.snapshots is not None)
    yield service_pb2.DownloadWeightsResponse(file=file)
    for chunk in chunks:
        sha.update(chunk)
        yield service_pb2.DownloadWeightsResponse(data=chunk)
    yield service_pb2.DownloadWeightsResponse(sha256=sha.hexdigest())


def _cut(pieces: Iterable[memoryview]) -> Iterator[bytes]:
    for piece in pieces:
        for start in range(0, piece.nbytes, CHUNK_BYTES):
            yield bytes(piece[start : start + CHUNK_BYTES])


def _of_snapshot(place: Place) -> dict[str, Array]:
    assert place.snapshots is not None
    try:
        snapshot = SnapshotStore(place.snapshots, keep=1, roots=place.roots).at(place.step)
        return parameters(place.snapshots, snapshot)
    except SnapshotError as error:
        raise NoWeightsError(place.run_id, str(error)) from None


def _unreadable(place: Place, error: Exception) -> NoWeightsError:
    why = getattr(error, "strerror", None) or str(error)
    return NoWeightsError(
        place.run_id,
        f"the weights of run {place.run_id} cannot be read from {place.path} ({why}): they may lie "
        "on the host that ran it",
    )
