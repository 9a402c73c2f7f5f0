"""The faults of a drill that have fired, read from the journal in which they are noted first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class DrillJournal:
    """Reads what is new in a run's journal.

    Args:
        attempt: the reader's own. Earlier ones have logged their faults, except the one that ended
            the runner itself.
    """

    def __init__(self, path: Path, attempt: int) -> None:
        self._path = path
        self._attempt = attempt
        self._read = 0

    def fired(self) -> list[tuple[str, str, int]]:
        """What has fired since the last call: target, description, step."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                new = file.read()
        except FileNotFoundError:
            return []
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        faults = [json.loads(line) for line in whole.splitlines()]
        return [_described(fault) for fault in faults if self._is_new(fault)]

    def _is_new(self, fault: dict[str, Any]) -> bool:
        ended_the_runner = fault["target"] == "runner" and fault["action"] != "delay"
        return bool(
            fault["attempt"] == self._attempt
            or (ended_the_runner and fault["attempt"] == self._attempt - 1)
        )


def _described(fault: dict[str, Any]) -> tuple[str, str, int]:
    message = f"drill: {fault['action']} at the point {fault['point']!r} of step {fault['step']}"
    return fault["target"], message, fault["step"]
