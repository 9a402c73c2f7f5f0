"""A stream of events that outlives its connections. Decisions only; no I/O."""

from __future__ import annotations

from sumgrad.trainer.client.connection import HEARTBEAT_SECONDS
from sumgrad.trainer.client.errors import CursorExpiredError
from sumgrad.trainer.client.streams.retry import Retry, of_stream
from sumgrad.trainer.record import states
from sumgrad.trainer.v1 import service_pb2


class WatchCursor:
    """How far the watching of a run has come, across any number of connections.

    Attributes:
        over: the run has ended, so nothing follows.
    """

    def __init__(self, run_id: str, after: int | None, retry: Retry | None = None) -> None:
        self._run_id = run_id
        self._after = after
        self._begun = False
        self._retry = retry or of_stream()
        self.over = False

    def request(self) -> service_pb2.WatchRunRequest:
        """The request of the next connection."""
        return service_pb2.WatchRunRequest(
            id=self._run_id, after_sequence=self._after, heartbeat_seconds=HEARTBEAT_SECONDS
        )

    def takes(self, response: service_pb2.WatchRunResponse) -> bool:
        """Record a message. Returns whether the caller sees it."""
        self._begun = True
        self._retry.reset()
        match response.WhichOneof("kind"):
            case "snapshot":
                self._after = response.snapshot.sequence
                self.over = states.ended(response.snapshot.run)
                return True
            case "event" if response.event.sequence > (self._after or 0):
                self._after = response.event.sequence
                self.over = response.event.state_change.state in states.ENDED
                return True
            case "queue_status":
                return True
        return False

    def seconds(self, error: Exception) -> float:
        """How long to wait before the next connection; raises an error that ends the stream.

        Before the first message, every error does: there may be no service at all.
        """
        if not self._begun:
            raise error
        if isinstance(error, CursorExpiredError):  # the run store went back to an older one
            self._after = None
        else:
            return self._retry.seconds(error)
        return 0.0
