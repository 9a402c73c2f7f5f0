"""Types of arrays, shapes and parameters."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

Shape = tuple[int, ...]
"""The shape of an array; a sample's shape leaves the batch axis out."""

Params = dict[str, Array]
"""A layer's parameters, or their gradients, by name."""
