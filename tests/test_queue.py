"""The queue: in order, and no more at once than the cores hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.service.queue import WORKERS_PER_CORE, startable, workers_limit

CORES = st.integers(1, 64)
RUNS = st.lists(st.integers(1, 200), max_size=10)


@pytest.mark.parametrize(
    ("queued", "running", "cores", "expected"),
    [
        ([], [], 2, 0),
        ([1], [], 2, 1),
        ([1, 1, 1], [], 2, 2),
        ([2], [1], 2, 0),
        ([2], [2], 4, 1),
        # A run that asks for more than there is starts alone.
        ([8], [], 2, 1),
        ([8], [1], 2, 0),
        ([1], [8], 2, 0),
        # A large run is not overtaken by the small ones behind it.
        ([2, 1], [1], 2, 0),
        ([1, 2, 1], [1], 3, 1),
    ],
)
def test_runs_start_in_order_while_cores_are_free(
    queued: list[int], running: list[int], cores: int, expected: int
) -> None:
    assert startable(queued, running, cores) == expected


@given(queued=RUNS, cores=CORES)
def test_an_idle_service_always_starts_something(queued: list[int], cores: int) -> None:
    assert startable(queued, [], cores) >= min(1, len(queued))


@given(queued=RUNS, cores=CORES)
def test_runs_that_start_together_fit_the_cores(queued: list[int], cores: int) -> None:
    started = queued[: startable(queued, [], cores)]
    assert sum(min(workers, cores) for workers in started) <= cores


@given(queued=RUNS, more=RUNS, running=RUNS, cores=CORES)
def test_what_comes_later_never_holds_back_what_came_before(
    queued: list[int], more: list[int], running: list[int], cores: int
) -> None:
    assert startable(queued + more, running, cores) >= startable(queued, running, cores)


def test_so_many_workers_may_share_a_core() -> None:
    assert workers_limit(2) == 2 * WORKERS_PER_CORE == 8
