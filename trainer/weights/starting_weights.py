"""The weights of a checkpoint, for a network that starts from them."""

from __future__ import annotations

from typing import Any

import numpy as np

from sumgrad.layers import Network
from sumgrad.layers.base.arrays import Array
from sumgrad.trainer.snapshots.snapshot import Snapshot, SnapshotError
from sumgrad.trainer.weights.checkpoint import read_checkpoint
from sumgrad.trainer.weights.layout import layout
from sumgrad.workers.host.allowed_paths import ANYWHERE, AllowedPaths


def starting_weights(location: str, network: Network, roots: AllowedPaths = ANYWHERE) -> Array:
    """The network's flat vector with a checkpoint's weights.

    Args:
        location: path or address of a weights file, of a snapshot's file, or of a folder of
            snapshots, of which the newest is taken.
        roots: where a path may lead.

    Raises:
        SnapshotError: it cannot be read, or belongs to another network.
    """
    found = parameters(location, read_checkpoint(location, roots))
    wanted = layout(network)
    problem = _misfit(found, wanted)
    if problem:
        raise SnapshotError(f"The checkpoint {location} does not fit the network: {problem}.")
    return np.concatenate([found[name].ravel() for name, _ in wanted])


def parameters(location: str, checkpoint: Snapshot) -> dict[str, Array]:
    """Every parameter by its name, as in a weights file.

    Raises:
        SnapshotError: the snapshot lacks the names.
    """
    if not checkpoint.document:
        return checkpoint.arrays
    try:
        return _split(checkpoint.arrays["weights"], checkpoint.document["more"]["layout"])
    except (KeyError, TypeError, ValueError):
        raise SnapshotError(
            f"The snapshot {location} does not say which weights it holds: start from another one."
        ) from None


def _split(flat: Array, named: list[Any]) -> dict[str, Array]:
    ends = np.cumsum([np.prod(shape, dtype=int) for _, shape in named])
    parts = np.split(flat, ends[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(named, parts, strict=True)}


def _misfit(found: dict[str, Array], wanted: list[list[Any]]) -> str:
    """The first parameter that is missing, differs, or is too many; empty if all fit."""
    for name, shape in wanted:
        if name not in found:
            return f"it has no {name}"
        array = found[name]
        if list(array.shape) != shape:
            return f"{name} is {_times(array.shape)} there and {_times(shape)} in the network"
        if array.dtype != np.float32:
            return f"{name} is {array.dtype} there and must be float32"
    extra = sorted(found.keys() - {name for name, _ in wanted})
    return f"the network has no {extra[0]}" if extra else ""


def _times(shape: Any) -> str:
    return "×".join(map(str, shape)) or "a number"
