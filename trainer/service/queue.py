"""Which queued runs may start, given the cores that the running ones hold."""

from __future__ import annotations

import math
from collections.abc import Sequence

WORKERS_PER_CORE = 4
"""So many workers may share a core; more would only wait for each other."""


RAY_UNITS = 10_000
"""Ray counts a core in so many parts."""


def workers_limit(cores: int) -> int:
    """The largest worker count that one run may ask for."""
    return cores * WORKERS_PER_CORE


def worker_cpus(cores: int) -> float:
    """The share of a core that each worker holds: so small that none ever waits for room.

    The queue decides how much runs at once. A run that is given more workers while it goes on has
    them at once, also when every run that may be active has as many as it can have.
    """
    return math.floor(RAY_UNITS / workers_limit(cores)) / RAY_UNITS


def startable(queued: Sequence[int], running: Sequence[int], cores: int) -> int:
    """How many of the queued runs, taken in order, start now.

    Args:
        queued, running: worker counts, each list oldest first.
    """
    free = cores - sum(min(workers, cores) for workers in running)
    count = 0
    for workers in queued:
        free -= min(workers, cores)
        if free < 0:
            break
        count += 1
    return count
