"""The trained weights: their digest, and the file they lie in."""

from __future__ import annotations

import json
import os
from pathlib import Path

from safetensors.numpy import save

from sumgrad.layers import Network
from sumgrad.layers.base.arrays import Array

WEIGHTS = "weights.safetensors"
"""The file's name in the folder of its run."""


def tensors(network: Network, flat: Array) -> dict[str, Array]:
    """Every parameter under the name ``layer.parameter``, for example ``0.W``."""
    views = network.views(flat)
    return {f"{slot.layer}.{slot.name}": views[slot.layer][slot.name] for slot in network.slots}


def write_weights(path: Path, network: Network, flat: Array, metadata: dict[str, str]) -> None:
    """Write a safetensors file that is either whole and durable, or not there.

    The metadata is one JSON document: the format keeps no order of several entries, and equal
    runs shall give equal files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    described = json.dumps(metadata, sort_keys=True)
    try:
        with partial.open("wb") as file:
            file.write(save(tensors(network, flat), {"sumgrad": described}))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
