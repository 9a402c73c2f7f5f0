"""The types that everything here is made of."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

Shape = tuple[int, ...]
"""Without the batch axis, where it is a sample's."""

Params = dict[str, Array]
"""A layer's parameters, or their gradients, by name."""
