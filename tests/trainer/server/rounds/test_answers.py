"""What workers answered, added up: the same bits in whatever order it came."""

from __future__ import annotations

import math
from itertools import permutations

import pytest

from sumgrad.layers.losses.metrics import ACCURACY, Metric
from sumgrad.layers.losses.reconstruction import RMSE
from sumgrad.layers.losses.squared_error import R2
from sumgrad.trainer.server.rounds.answers import RoundAnswers, Tally


def test_sums_are_the_same_in_whatever_order_the_units_came() -> None:
    values = [1e16, 1.0, -1e16, 0.1]
    found = {
        (answers.loss, *answers.metric_sums)
        for order in permutations(values)
        for answers in [
            RoundAnswers(losses=list(order), metric=[x for v in order for x in (v, -v)])
        ]
    }
    exact = math.fsum(values)
    assert found == {(exact, exact, -exact)}


def test_a_sum_that_has_no_value_is_not_a_number() -> None:
    assert math.isnan(RoundAnswers(losses=[math.inf, -math.inf]).loss)
    assert math.isnan(RoundAnswers(losses=[1e308, 1e308]).loss)
    assert RoundAnswers(losses=[math.inf, 1]).loss == math.inf


def test_the_figures_of_an_epoch_are_those_of_all_its_rows() -> None:
    tally = Tally()
    tally.add(RoundAnswers(losses=[3], rows=2, metric=[2, 2]))
    tally.add(RoundAnswers(losses=[4, 5], rows=6, metric=[3, 0, 3, 1]))
    assert tally.mean == 12 / 8
    assert tally.figures(ACCURACY) == {"accuracy": 3 / 8}


@pytest.mark.parametrize(
    ("metric", "sums"),
    [
        (R2, [2, 8.0, 6.0, 18.0]),  # two rows, both 3
        (RMSE, []),
    ],
)
def test_a_metric_without_a_value_is_no_figure(metric: Metric, sums: list[float]) -> None:
    tally = Tally()
    tally.add(RoundAnswers(losses=[1], rows=2, metric=sums))
    assert tally.figures(metric) == {}
