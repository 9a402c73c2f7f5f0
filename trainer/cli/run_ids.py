"""Runs as people name them: by an id, by its beginning while that is unique, or as ``latest``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sumgrad.trainer.errors import UsageError

if TYPE_CHECKING:
    from sumgrad.trainer.client import Client

LATEST = "latest"
MAX_CANDIDATES = 3

_WHOLE = re.compile(r"r-[0-9a-f]{16}")
_BEGINNING = re.compile(r"r-[0-9a-f]{1,15}")


def find_run(client: Client, name: str) -> str:
    """The id of the run that a name means, by one call unless it is whole.

    What is the beginning of no id comes back as it is, so that the next call says so.

    Raises:
        UsageError: several ids begin so, or there is no run yet.
    """
    if name == LATEST:
        runs = client.list(1)
        if not runs:
            raise UsageError("there is no run yet; submit one with `sumgrad submit SPEC`")
        return runs[0].id
    if _WHOLE.fullmatch(name) or not _BEGINNING.fullmatch(name):
        return name
    found = [run.id for run in client.list(MAX_CANDIDATES, id_prefix=name)]
    if name in found or not found:
        return name
    if len(found) > 1:
        raise UsageError(
            f"several runs begin with {name!r}, like {' and '.join(found)}; give more of the id"
        )
    return found[0]
