"""Sums over the steps of an epoch."""

from __future__ import annotations

import math

import pytest

from sumgrad.layers.losses.metrics import ACCURACY, Metric
from sumgrad.layers.losses.reconstruction import RMSE
from sumgrad.layers.losses.squared_error import R2
from sumgrad.trainer.arithmetic.tally import Tally


def test_the_figures_of_an_epoch_are_those_of_all_its_rows() -> None:
    tally = Tally()
    tally.add(3.0, 2, [2, 2])
    tally.add(9.0, 6, [6, 1])
    assert tally.mean == 12 / 8
    assert tally.figures(ACCURACY) == {"accuracy": 3 / 8}


def test_an_epoch_of_which_every_step_was_skipped_has_no_mean() -> None:
    assert math.isnan(Tally().mean)


@pytest.mark.parametrize(
    ("metric", "sums"),
    [
        (R2, [2, 8.0, 6.0, 18.0]),  # two rows, both 3
        (RMSE, []),
    ],
)
def test_a_metric_without_a_value_is_no_figure(metric: Metric, sums: list[float]) -> None:
    assert Tally(1.0, 2, sums).figures(metric) == {}
