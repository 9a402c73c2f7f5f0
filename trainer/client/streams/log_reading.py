"""The log of a run as a client reads it: every line once, however often the stream breaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator

from sumgrad.trainer.client.connection import HEARTBEAT_SECONDS
from sumgrad.trainer.v1 import service_pb2

RECONNECT_SECONDS = 0.5
"""Between two attempts to read on."""

GIVE_UP = 60
"""Attempts in a row, without a line, after which the service is taken for gone."""

Stream = Callable[[service_pb2.StreamLogsRequest], Iterator[service_pb2.StreamLogsResponse]]


class LogReading:
    """Where somebody who reads a log is, across any number of connections. Does no I/O.

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
        """Go on by one response; False if it is not for the reader's eyes."""
        self.request.after = max(self.request.after, response.sequence)
        self._failures, self._reached = 0, True
        return bool(response.lines or response.missed)

    def seconds(self, error: Exception) -> float:
        """How long to wait before the next connection; raises the error where that is no use."""
        self._failures += 1
        if not (self.request.follow and self._reached) or self._failures >= GIVE_UP:
            raise error
        return RECONNECT_SECONDS


def read_logs(
    stream: Stream,
    run_id: str,
    *,
    follow: bool,
    after: int,
    sources: Collection[str],
    unreachable: type[Exception],
    pause: Callable[[float], object] = time.sleep,
) -> Iterator[service_pb2.StreamLogsResponse]:
    """The responses of ``StreamLogs``; one that follows goes on where it broke off.

    Args:
        stream: the call.
        unreachable: what it raises where the service does not answer, or is stopping.

    Raises:
        unreachable: it did not answer the first time, or GIVE_UP times in a row.
    """
    reading = LogReading(run_id, follow, after, sources)
    while True:
        try:
            for response in stream(reading.request):
                if reading.takes(response):
                    yield response
            return
        except unreachable as error:
            pause(reading.seconds(error))
