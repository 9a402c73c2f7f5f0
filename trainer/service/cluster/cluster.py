"""A Ray, ours or another's, as the launcher sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Cluster(Protocol):
    """Where jobs go.

    Attributes:
        python: the command on its nodes that is a Python.
        dashboard: URL of the job API, once started.
        headers: what a caller of the job API needs to be let in.
    """

    @property
    def python(self) -> str: ...

    @property
    def dashboard(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def start(self) -> None: ...

    def alive(self) -> bool: ...

    def cpus(self) -> tuple[float, ...]: ...

    def stop(self) -> None: ...
