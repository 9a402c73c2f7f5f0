"""Which queued runs may start, given the cores that the running ones hold."""

from __future__ import annotations

from collections.abc import Sequence

WORKERS_PER_CORE = 4
"""So many workers may share a core; more would only wait for each other."""


def workers_limit(cores: int) -> int:
    """The largest worker count that one run may ask for."""
    return cores * WORKERS_PER_CORE


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
