"""Schedules against PyTorch's, and their ranges."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sumgrad.layers import InvalidHyperparameterError
from sumgrad.trainer.arithmetic.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    Moment,
    Plateau,
    Schedule,
    Step,
    warmup,
)

torch = pytest.importorskip("torch")

CASES: list[Schedule] = [Constant(), Cosine(0.1), Plateau(1), Step(2)]

# In sixteenths, so that a difference is never by a rounding more or less than a threshold.
E_OUTS = st.sampled_from([math.nan, math.inf, *(i / 16 for i in range(17))])
unhurried = settings(deadline=None)
"""PyTorch's first scheduler imports for seconds."""

HISTORIES = st.lists(E_OUTS, max_size=40)


def rates(scheduler: Callable[[Any], Any], steps: int) -> list[float]:
    """PyTorch's learning rates of these steps, from a base of 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    running, found = scheduler(optimizer), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        running.step()
    return found


def test_every_schedule_of_the_table_is_tested() -> None:
    assert {type(schedule) for schedule in CASES} == set(SCHEDULES.values())


@pytest.mark.parametrize("schedule", CASES, ids=str)
def test_a_schedule_starts_at_the_base_and_stays_between_it_and_0(schedule: Schedule) -> None:
    assert schedule.scale(Moment(0, 40, 4, ())) == 1
    held_out = [0.5] * 10
    for step in range(40):
        moment = Moment(step, 40, 4, tuple(held_out[: step // 4]))
        assert 0 <= schedule.scale(moment) <= 1


@pytest.mark.parametrize("schedule", CASES, ids=str)
def test_a_schedule_keeps_nothing_to_itself(schedule: Schedule) -> None:
    moments = [Moment(step, 40, 4, (0.5,) * (step // 4)) for step in range(40)]
    onward = [schedule.scale(moment) for moment in moments]
    backward = [schedule.scale(moment) for moment in reversed(moments)]
    assert onward == backward[::-1]
    assert dataclasses.is_dataclass(schedule)


def test_constant_never_changes() -> None:
    assert {Constant().scale(Moment(step, 9, 2, (1.0,))) for step in range(9)} == {1.0}


@pytest.mark.slow
@unhurried
@given(st.integers(1, 200), st.floats(0, 0.99))
def test_cosine_is_pytorchs_cosine_annealing(steps: int, floor: float) -> None:
    expected = rates(
        lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, T_max=steps, eta_min=floor
        ),
        steps,
    )
    found = [Cosine(floor).scale(Moment(step, steps, 7, ())) for step in range(steps)]
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.slow
@unhurried
@given(st.integers(1, 5), st.floats(0, 0.99), st.integers(1, 4))
def test_step_is_pytorchs_step_lr_stepped_once_an_epoch(
    every_epochs: int, factor: float, steps_per_epoch: int
) -> None:
    expected = rates(
        lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, every_epochs, factor), 12
    )
    for step in range(12 * steps_per_epoch):
        found = Step(every_epochs, factor).scale(Moment(step, 100, steps_per_epoch, ()))
        assert found == pytest.approx(expected[step // steps_per_epoch], rel=1e-9)


@pytest.mark.slow
@unhurried
@given(HISTORIES, st.integers(0, 4), st.floats(0, 0.9), st.sampled_from([0.0, 1 / 16, 1 / 4]))
def test_plateau_is_pytorchs_reduce_on_plateau(
    held_out: list[float], patience: int, factor: float, min_delta: float
) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        factor=factor,
        patience=patience,
        threshold=min_delta,
        threshold_mode="abs",
        eps=0.0,
    )
    for epochs, e_out in enumerate(held_out, 1):
        scheduler.step(e_out)
        found = Plateau(patience, factor, min_delta).scale(
            Moment(3 * epochs, 1000, 3, tuple(held_out[:epochs]))
        )
        assert found == optimizer.param_groups[0]["lr"]


@unhurried
@given(st.integers(2, 30))
def test_warmup_is_pytorchs_linear_rise_from_one_part(warmup_steps: int) -> None:
    expected = rates(
        lambda optimizer: torch.optim.lr_scheduler.LinearLR(
            optimizer, start_factor=1 / warmup_steps, total_iters=warmup_steps - 1
        ),
        40,
    )
    assert [warmup(step, warmup_steps) for step in range(40)] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("warmup_steps", "expected"),
    [(0, [1, 1, 1]), (1, [1, 1, 1]), (4, [0.25, 0.5, 0.75, 1, 1])],
)
def test_warmup_rises_in_equal_steps_to_the_base(warmup_steps: int, expected: list[float]) -> None:
    assert [warmup(step, warmup_steps) for step in range(len(expected))] == expected


OUT_OF_RANGE = [
    (lambda: Step(0), "every_epochs: must be ≥ 1, got 0"),
    (lambda: Step(1, 1.0), r"factor: must be in \[0, 1\), got 1.0"),
    (lambda: Cosine(1.0), r"floor: must be in \[0, 1\), got 1.0"),
    (lambda: Cosine(math.nan), r"floor: must be in \[0, 1\), got nan"),
    (lambda: Plateau(-1), "patience: must be ≥ 0, got -1"),
    (lambda: Plateau(1, -0.5), r"factor: must be in \[0, 1\), got -0.5"),
    (lambda: Plateau(1, 0.5, -1.0), "min_delta: must be a finite number ≥ 0, got -1.0"),
]


@pytest.mark.parametrize(("make", "message"), OUT_OF_RANGE, ids=[text for _, text in OUT_OF_RANGE])
def test_a_value_out_of_range_is_refused(make: Callable[[], Schedule], message: str) -> None:
    with pytest.raises(InvalidHyperparameterError, match=message):
        make()
