"""The audit log: who changed what, and who was refused, one JSON object a line."""

from __future__ import annotations

import json
import logging
import os
import time
from datetime import UTC, datetime
from pathlib import Path

MAX_REFUSALS_PER_SECOND = 10
"""Of unknown callers. More are counted and not written, because anybody can cause them."""

_MAX_RUN_ID = 200

_LOG = logging.getLogger(__name__)


class Audit:
    """Appends to ``audit.jsonl``, which only its owner may read.

    The file is opened for every line, so it can be moved away at any time, and several services
    may write to one. A call is answered also when its line cannot be written; the log says so.
    """

    def __init__(self, state: Path) -> None:
        self._path = state / "audit.jsonl"
        self._second = 0
        self._refusals = 0

    def event(
        self, *, user: str, role: str, method: str, run: str, peer: str, outcome: str
    ) -> None:
        """Write that a call ended with this status code; user and role are empty if unknown."""
        anonymous = not role
        if anonymous and not self._may_write_refusal():
            return
        self._write(
            user=user, role=role, method=method, run=run[:_MAX_RUN_ID], peer=peer, outcome=outcome
        )

    def _may_write_refusal(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            left_out = self._refusals - MAX_REFUSALS_PER_SECOND
            self._second, self._refusals = second, 0
            if left_out > 0:
                self._write(outcome="refusals left out", count=left_out)
        self._refusals += 1
        return self._refusals <= MAX_REFUSALS_PER_SECOND

    def _write(self, **fields: str | int) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        # JSON leaves no other control character than this one.
        line = json.dumps({"time": now, **fields}).replace("\x7f", "\\u007f") + "\n"
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o600)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            _LOG.error("cannot write %s: %s", self._path, error)
