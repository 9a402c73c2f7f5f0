"""What workers answered, added up: the same bits in whatever order it came."""

from __future__ import annotations

import math
from itertools import permutations

from sumgrad.trainer.server.rounds.answers import RoundAnswers


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
