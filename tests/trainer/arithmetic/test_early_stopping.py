"""Early stopping: when a run is over, and which epoch it ends with."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sumgrad.layers import InvalidHyperparameterError
from sumgrad.trainer.arithmetic.early_stopping import EarlyStopping, best_epoch

COURSES = st.lists(st.sampled_from([math.nan, math.inf, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5]), max_size=20)


@pytest.mark.parametrize(
    ("held_out", "over_after"),
    [
        ([5.0, 4.0, 3.0, 2.0, 1.0], None),
        ([1.0, 2.0, 2.0, 2.0], 4),
        ([3.0, 3.0, 3.0, 3.0], 4),
        ([3.0, 3.5, 3.5, 2.0, 2.5, 2.5, 2.5], 7),
        ([3.0, 3.5, 3.5, 2.0, 2.5, 2.5], None),
        ([math.nan, math.nan, math.nan], 3),
        ([math.nan, 1.0, math.nan, math.nan, math.nan], 5),
        ([math.inf, math.inf, math.inf], 3),
        ([], None),
    ],
)
def test_three_epochs_without_improvement_end_a_run(
    held_out: list[float], over_after: int | None
) -> None:
    rule = EarlyStopping(patience=3)
    over = [n for n in range(len(held_out) + 1) if rule.is_over(held_out[:n])]
    assert over == ([] if over_after is None else [over_after])


def test_a_fall_of_min_delta_or_less_is_no_improvement() -> None:
    rule = EarlyStopping(patience=2, min_delta=0.25)
    assert rule.is_over([1.0, 0.75, 0.8])
    assert not rule.is_over([1.0, 0.75, 0.7])


def test_small_falls_add_up() -> None:
    assert not EarlyStopping(patience=2, min_delta=0.25).is_over([1.0, 0.85, 0.7, 0.55, 0.4])


@pytest.mark.slow
@given(COURSES, st.integers(1, 4), st.sampled_from([0.0, 0.1, 0.15]))
def test_the_decision_is_that_of_algorithm_7_1(
    held_out: list[float], patience: int, min_delta: float
) -> None:
    """The loop of Goodfellow et al., that stops at the first time j reaches p."""
    j, v = 0, math.inf
    for i, e_out in enumerate(held_out, 1):
        if v - e_out > min_delta:
            j, v = 0, e_out
        else:
            j += 1
        assert EarlyStopping(patience, min_delta).is_over(held_out[:i]) == (j >= patience)


@pytest.mark.parametrize(
    ("held_out", "best"),
    [
        ([3.0, 1.0, 2.0], 2),
        ([3.0, 1.0, 1.0], 2),
        ([1.0, math.nan], 1),
        ([math.nan, 1.0], 2),
        ([math.nan, math.nan], 1),
        ([math.inf, math.nan, 2.0], 3),
    ],
)
def test_the_best_epoch_is_the_first_of_the_lowest(held_out: list[float], best: int) -> None:
    assert best_epoch(held_out) == best


@pytest.mark.parametrize("patience", [0, -1])
def test_a_patience_of_no_epoch_is_refused(patience: int) -> None:
    with pytest.raises(InvalidHyperparameterError, match="patience: must be ≥ 1"):
        EarlyStopping(patience)


@pytest.mark.parametrize("min_delta", [-0.1, math.nan, math.inf])
def test_a_min_delta_out_of_range_is_refused(min_delta: float) -> None:
    with pytest.raises(InvalidHyperparameterError, match="min_delta: must be a finite number ≥ 0"):
        EarlyStopping(1, min_delta)
