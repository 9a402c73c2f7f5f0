"""The load benchmarks fail when a target is missed. What they measure is not looked at here."""

from __future__ import annotations

import pytest

from sumgrad.trainer.spec.parse import parse

from benchmarks.load import service_load, watched_run
from benchmarks.load.service_load import CALLERS, FLOODS, Load
from benchmarks.load.watched_run import WATCHERS, Watched

PEAK = Load(served=2000, refused=0, other=0, p50=0.01, p99=0.04, cpu=0.0004)
FLOODED = PEAK._replace(served=1700, refused=100)
LOADS = {CALLERS: [PEAK] * 3, FLOODS[0]: [FLOODED] * 3, FLOODS[1]: [FLOODED] * 3}

ALONE = Watched(steps=600, updates=4, service=0.01, client=0)
BESIDE = Watched(steps=580, updates=4, service=0.05, client=0.04)


def test_targets_that_are_met_are_not_spoken_of() -> None:
    assert not list(service_load.misses(LOADS))
    assert not list(watched_run.misses({0: [ALONE], WATCHERS: [BESIDE]}))


@pytest.mark.parametrize(
    ("callers", "load", "missed"),
    [
        (CALLERS, PEAK._replace(served=1499), "1,499 calls a second were served, not 1,500"),
        (CALLERS, PEAK._replace(p99=0.051), "the p99 was 51 ms, not 50 ms"),
        (
            FLOODS[0],
            FLOODED._replace(served=1590),
            "79.5% of the peak was served to 500 callers, not 80%",
        ),
        (FLOODS[0], FLOODED._replace(refused=0), "of 500 callers, none was refused"),
        (
            FLOODS[1],
            FLOODED._replace(other=0.2),
            "of 2000 callers, 0.2 a second got another answer",
        ),
    ],
)
def test_a_target_of_the_service_that_is_missed_is_named(
    callers: int, load: Load, missed: str
) -> None:
    assert missed in list(service_load.misses({**LOADS, callers: [load] * 3}))


@pytest.mark.parametrize(
    ("beside", "missed"),
    [
        (BESIDE._replace(steps=564), "6.0% of the steps were lost, not 5%"),
        (BESIDE._replace(updates=1.9), "there were 1.9 updates a second, not 2"),
    ],
)
def test_a_target_of_a_watched_run_that_is_missed_is_named(beside: Watched, missed: str) -> None:
    assert list(watched_run.misses({0: [ALONE], WATCHERS: [beside]})) == [missed]


def test_the_watched_run_can_be_trained() -> None:
    assert parse(watched_run.specification()).name == "watched"
