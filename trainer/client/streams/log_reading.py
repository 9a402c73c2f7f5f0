"""The log of a run as a client reads it: every line once, however often the stream breaks."""

from __future__ import annotations

from collections.abc import Collection

from sumgrad.trainer.client.connection import HEARTBEAT_SECONDS
from sumgrad.trainer.v1 import service_pb2

RECONNECT_SECONDS = 0.5
"""Between two attempts to read on."""

MAX_FAILURES = 60
"""In a row, without a response; then the service counts as gone."""


class LogReading:
    """How far the reading of a log has come, across any number of connections. No I/O.

    Attributes:
        request: of the next connection.
    """

    def __init__(self, run_id: str, follow: bool, after: int, sources: Collection[str]) -> None:
        self.request = service_pb2.StreamLogsRequest(
            id=run_id,
            follow=follow,
            after=after,
            sources=sources,
            heartbeat_seconds=HEARTBEAT_SECONDS,
        )
        self._failures, self._reached = 0, False

    def takes(self, response: service_pb2.StreamLogsResponse) -> bool:
        """Record a response. Returns whether the caller sees it."""
        self.request.after = max(self.request.after, response.sequence)
        self._failures, self._reached = 0, True
        return bool(response.lines or response.missed)

    def seconds(self, error: Exception) -> float:
        """How long to wait before the next connection; raises an error that ends the reading."""
        self._failures += 1
        if not (self.request.follow and self._reached) or self._failures >= MAX_FAILURES:
            raise error
        return RECONNECT_SECONDS
