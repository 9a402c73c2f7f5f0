"""Arrays from a context: shape, type and the order of axes in memory."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from sumgrad.layers.base.context import Context, Workspace


@pytest.mark.parametrize("order", list(permutations(range(4))), ids=str)
@pytest.mark.parametrize("workspace", [None, Workspace()], ids=["new", "workspace"])
def test_an_array_like_another_has_its_axes_in_the_same_order_in_memory(
    workspace: Workspace | None, order: tuple[int, ...]
) -> None:
    array = np.empty((2, 3, 4, 5), np.float32).transpose(order)
    context = Context(workspace=workspace)
    alike = context.empty_like("alike", array)
    assert (alike.shape, alike.dtype, alike.strides) == (array.shape, array.dtype, array.strides)
    mask = context.empty_like("mask", array, dtype=np.bool_)
    assert mask.dtype == np.bool_
    assert mask.strides == tuple(stride // 4 for stride in array.strides)
    wider = context.empty_like("wider", array, shape=(6, 7, 8, 9))
    assert wider.shape == (6, 7, 8, 9)
    assert np.argsort(wider.strides).tolist() == np.argsort(array.strides).tolist()


def test_an_array_like_a_part_of_another_has_no_gaps() -> None:
    part = np.empty((6, 5, 4), np.float64).swapaxes(0, 1)[1:4, ::2]
    alike = Context().empty_like("alike", part)
    assert alike.shape == (3, 3, 4)
    assert alike.strides == (4 * 8, 3 * 4 * 8, 8)
