"""Maxout: who wins a tie, and sizes that are refused."""

from __future__ import annotations

import numpy as np
import pytest

from sumgrad.layers import InvalidHyperparameterError, Maxout


def test_where_pieces_of_maxout_tie_the_first_one_wins() -> None:
    params = {"W": np.ones((1, 3, 2)), "b": np.array([[0.0, 1.0, 1.0]])}
    grads = {"W": np.empty((1, 3, 2)), "b": np.empty((1, 3))}
    y, backward = Maxout(1, pieces=3).forward(params, np.array([[2.0, 5.0]]))
    np.testing.assert_array_equal(y, [[8]])
    np.testing.assert_array_equal(backward(np.array([[3.0]]), grads), [[3, 3]])
    np.testing.assert_array_equal(grads["W"], [[[0, 0], [6, 15], [0, 0]]])
    np.testing.assert_array_equal(grads["b"], [[0, 3, 0]])


@pytest.mark.parametrize("field", ["units", "pieces"])
@pytest.mark.parametrize("count", [0, 2**31])
def test_a_number_of_units_or_pieces_of_maxout_out_of_range_is_refused(
    field: str, count: int
) -> None:
    with pytest.raises(InvalidHyperparameterError, match=f"^{field}: must be .*, got {count}"):
        Maxout(**{"units": 3, "pieces": 2, field: count})  # type: ignore[arg-type]
