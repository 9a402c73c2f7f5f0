"""The trained weights: their digest, and the file they lie in."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from layers import Network
from layers.arrays import Array


def tensors(network: Network, flat: Array) -> dict[str, Array]:
    """Every parameter under the name ``layer.parameter``, for example ``0.W``."""
    views = network.views(flat)
    return {f"{slot.layer}.{slot.name}": views[slot.layer][slot.name] for slot in network.slots}


def digest(network: Network, flat: Array) -> str:
    """SHA-256 over names and shapes (as JSON) and the vector's little-endian float32 bytes."""
    layout = [[name, list(array.shape)] for name, array in tensors(network, flat).items()]
    sha = hashlib.sha256(json.dumps(layout, separators=(",", ":")).encode())
    sha.update(np.ascontiguousarray(flat, dtype="<f4").tobytes())
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
