"""A Ray, ours or another's, as the launcher sees it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

RAY_UNITS = 10_000
"""Ray counts CPUs in such parts; a share that it rounded up would not fit as often."""


class Cluster(Protocol):
    """Where jobs go.

    Attributes:
        dashboard: URL of the job API, once started.
        headers: what a caller of the job API needs to be let in.
    """

    @property
    def dashboard(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def start(self) -> None: ...

    def alive(self) -> bool: ...

    def cpus(self) -> tuple[float, ...]: ...

    def stop(self) -> None: ...


def worker_cpus(workers: int, nodes: Sequence[float]) -> float:
    """The share of a CPU that each worker holds, so that all of them have room at once.

    Args:
        nodes: CPUs of each node; a worker's share lies on one of them.

    Returns:
        1 where there is a CPU for each; else the largest share with which the nodes' whole
        numbers of shares are enough.
    """
    shares = {cpus / count for cpus in nodes for count in range(1, workers + 1)}
    fitting = [share for share in shares if 0 < share <= 1 and _room(share, nodes) >= workers]
    share = 1.0 if _room(1.0, nodes) >= workers else max(fitting, default=1.0)
    return math.floor(share * RAY_UNITS) / RAY_UNITS


def _room(share: float, nodes: Sequence[float]) -> int:
    """How many shares fit; what division makes of a whole number may lie just below it."""
    return sum(math.floor(cpus / share + 1e-9) for cpus in nodes)
