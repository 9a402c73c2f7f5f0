"""A snapshot's document as JSON, from which every float comes back bit for bit."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

from sumgrad.trainer.snapshots.snapshot import SnapshotError

_BITS = "$float64"
"""JSON has no NaN and no infinities; they are an object with the sixteen hexadecimal digits."""


def dump(content: dict[str, Any]) -> str:
    """Everything in one line.

    Raises:
        SnapshotError: for what would not come back as it was, such as a tuple.
    """
    return json.dumps(_plain(content, ""), allow_nan=False, separators=(",", ":"))


def load(text: str) -> Any:
    """What ``dump`` was given.

    Raises:
        ValueError: if this is not what ``dump`` wrote.
    """
    try:
        return json.loads(text, object_hook=_float)
    except (RecursionError, TypeError, struct.error) as error:
        raise ValueError(str(error)) from error


def _plain(value: Any, path: str) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else {_BITS: struct.pack(">d", value).hex()}
        case list():
            return [_plain(each, f"{path}[{index}]") for index, each in enumerate(value)]
        case dict() if _BITS not in value and all(isinstance(key, str) for key in value):
            return {key: _plain(each, f"{path}.{key}") for key, each in value.items()}
    raise SnapshotError(
        f"{path[1:]} of a snapshot is {value!r:.80}, which is not plain data: use None, bool, int, "
        f"float, str, list, or dict with keys of type str other than {_BITS}."
    )


def _float(value: dict[str, Any]) -> Any:
    if value.keys() != {_BITS}:
        return value
    (number,) = struct.unpack(">d", bytes.fromhex(value[_BITS]))
    return number
