"""The file of the trained weights, and the names of the tensors in it."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.numpy import save

from sumgrad.layers import Network
from sumgrad.layers.base.arrays import Array
from sumgrad.trainer.durable_file import durable_file

WEIGHTS = "weights.safetensors"
"""The file's name in the folder of its run."""


def tensors(network: Network, flat: Array) -> dict[str, Array]:
    """Every parameter under the name ``layer.parameter``, for example ``0.W``."""
    views = network.views(flat)
    return {f"{slot.layer}.{slot.name}": views[slot.layer][slot.name] for slot in network.slots}


def write_weights(path: Path, network: Network, flat: Array, metadata: dict[str, str]) -> None:
    """Write a safetensors file, whole and durable or not at all.

    The metadata is one JSON document: the format keeps no order of several entries, and equal
    runs must give equal files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    described = json.dumps(metadata, sort_keys=True)
    with durable_file(path) as file:
        file.write(save(tensors(network, flat), {"sumgrad": described}))
