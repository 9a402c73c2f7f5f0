"""When waiting runs will start, if the running ones take as long as they expect to."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from itertools import islice

from sumgrad.trainer.service.queue.scheduling import NO_LIMITS, Running, Tally, UserLimits, Waiting

MAX_RUNS = 100
"""From the front of the queue, for which a start is computed."""


def starts(
    order: Iterable[Waiting], running: Sequence[Running], cores: int, limits: UserLimits = NO_LIMITS
) -> dict[str, float]:
    """Seconds until waiting runs start, by their ids; runs whose start is not known are left out.

    Plays the queue forward in its present order: a run whose time left is not known never ends, and
    what has to wait for it never starts.

    Args:
        order: the waiting runs, as ``in_order`` returns them.
    """
    waiting = list(islice(order, MAX_RUNS))
    tally, found, now = Tally(running), {}, 0.0
    free = cores - sum(run.cpus for run in running)
    ends: list[tuple[float, str, Waiting | Running]] = []
    for run in running:
        _note_end(ends, run, now)
    while True:
        for started in _start(waiting, tally, free, limits):
            found[started.id] = now
            free -= started.cpus
            waiting.remove(started)
            _note_end(ends, started, now)
        if not waiting or not ends:
            return found
        now, _, over = heapq.heappop(ends)
        free += over.cpus
        tally.remove(over)


def _start(
    waiting: Iterable[Waiting], tally: Tally, free: int, limits: UserLimits
) -> list[Waiting]:
    """What starts at one moment; the tally then counts it."""
    started = []
    for run in waiting:
        if tally.reason(run, limits):
            continue
        if run.cpus > free:
            break
        free -= run.cpus
        tally.add(run)
        started.append(run)
    return started


def _note_end(
    ends: list[tuple[float, str, Waiting | Running]], run: Waiting | Running, now: float
) -> None:
    if run.seconds_left is not None:
        heapq.heappush(ends, (now + run.seconds_left, run.id, run))
