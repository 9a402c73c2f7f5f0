"""The layout of parameters in the flat vector, and the digest of both."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from sumgrad.layers import Network
from sumgrad.layers.base.arrays import Array


def layout(network: Network) -> list[list[Any]]:
    """Name and shape of every parameter, in the order of the flat vector, as plain data."""
    return [[f"{slot.layer}.{slot.name}", list(slot.shape)] for slot in network.slots]


def digest(network: Network, flat: Array) -> str:
    """SHA-256 over names and shapes (as JSON) and the vector's little-endian float32 bytes."""
    sha = hashlib.sha256(json.dumps(layout(network), separators=(",", ":")).encode())
    sha.update(np.ascontiguousarray(flat, dtype="<f4").data)
    return sha.hexdigest()
