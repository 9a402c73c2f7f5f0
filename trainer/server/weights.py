"""The trained weights: their digest, and the file they lie in."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from layers import Network
from layers.arrays import Array

WEIGHTS = "weights.safetensors"
"""The file's name in the folder of its run."""


def tensors(network: Network, flat: Array) -> dict[str, Array]:
    """Every parameter under the name ``layer.parameter``, for example ``0.W``."""
    views = network.views(flat)
    return {f"{slot.layer}.{slot.name}": views[slot.layer][slot.name] for slot in network.slots}


def layout(network: Network) -> list[list[Any]]:
    """Name and shape of every parameter, in the order of the flat vector, as plain data."""
    return [[f"{slot.layer}.{slot.name}", list(slot.shape)] for slot in network.slots]


def digest(network: Network, flat: Array) -> str:
    """SHA-256 over names and shapes (as JSON) and the vector's little-endian float32 bytes."""
    sha = hashlib.sha256(json.dumps(layout(network), separators=(",", ":")).encode())
    sha.update(np.ascontiguousarray(flat, dtype="<f4").data)
    return sha.hexdigest()


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
