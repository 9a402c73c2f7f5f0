"""What the launcher needs of a Ray cluster, its own or one that others run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Cluster(Protocol):
    """A Ray cluster that takes jobs.

    Attributes:
        python: the command that runs Python on its nodes.
        dashboard: URL of the job API, once started.
        headers: HTTP headers that authorize calls of the job API.
    """

    @property
    def python(self) -> str: ...

    @property
    def dashboard(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def start(self) -> None:
        """Start it and wait until it takes jobs. Raises RayError."""

    def alive(self) -> bool:
        """Whether it runs, as far as can be known without asking it."""

    def cpus(self) -> tuple[float, ...]:
        """CPUs of each of its nodes. Raises RayError."""

    def stop(self) -> None:
        """Stop it; returns when its processes are gone."""
