"""A safetensors file in pieces, which are the arrays' own memory.

Why not the library's: docs/decisions/snapshots.md#the-safetensors-header-is-written-here.
Source: https://github.com/safetensors/safetensors, section Format.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence

import numpy as np

from sumgrad.layers.base.arrays import Array
from sumgrad.trainer.snapshots.snapshot import SnapshotError


def tensor_file(arrays: Mapping[str, Array]) -> list[memoryview]:
    """The pieces of the file, one after the other.

    Raises:
        SnapshotError: if an array is not of type float32.
    """
    header, pieces, start = {}, [], 0
    for name, array in sorted(arrays.items()):
        if array.dtype != np.float32:
            raise SnapshotError(
                f"The array {name!r} of a snapshot is of type {array.dtype}: give it as float32."
            )
        stop = start + array.nbytes
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": (start, stop)}
        flat = np.ascontiguousarray(array, dtype="<f4").reshape(-1)
        pieces.append(flat.view(np.uint8).data)
        start = stop
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays are aligned
    return [memoryview(struct.pack("<Q", len(text)) + text), *pieces]


def size(pieces: Sequence[memoryview]) -> int:
    """The file's size in bytes."""
    return sum(piece.nbytes for piece in pieces)


def sha256(pieces: Sequence[memoryview]) -> str:
    """SHA-256 of the pieces one after the other, in hexadecimal digits."""
    sha = hashlib.sha256()
    for piece in pieces:
        sha.update(piece)
    return sha.hexdigest()
