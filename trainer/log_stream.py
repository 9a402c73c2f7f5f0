"""The log of a run as a client reads it: every line once, however often the stream breaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator

from trainer.v1 import service_pb2

RECONNECT_SECONDS = 0.5
"""Between two attempts to read on."""

GIVE_UP = 60
"""Attempts in a row, without a line, after which the service is taken for gone."""

Stream = Callable[[service_pb2.StreamLogsRequest], Iterator[service_pb2.StreamLogsResponse]]


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
    request = service_pb2.StreamLogsRequest(id=run_id, follow=follow, after=after, sources=sources)
    failures, reached = 0, False
    while True:
        try:
            for response in stream(request):
                request.after = max(request.after, response.sequence)
                failures, reached = 0, True
                yield response
            return
        except unreachable:
            failures += 1
            if not (follow and reached) or failures >= GIVE_UP:
                raise
        pause(RECONNECT_SECONDS)
