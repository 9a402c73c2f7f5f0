"""A stream that is read in another thread, so that Ctrl-C and time bounds end a wait for it."""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")

MAX_AHEAD = 16
"""Messages that are read before they are asked for; the service holds back the others."""


class BackgroundStream(Generic[T]):
    """The messages of a gRPC stream, fetched by a thread that ends with ``close``.

    A KeyboardInterrupt that is raised inside gRPC's own Python code can leave one of its locks
    held, and the whole channel then waits for ever. Here it is raised in ``SimpleQueue.get``.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._fetched: SimpleQueue[tuple[T] | Exception | None] = SimpleQueue()
        self._allowance = threading.Semaphore(MAX_AHEAD)
        self._closed = False
        threading.Thread(target=self._fetch, name="stream", daemon=True).start()

    def _fetch(self) -> None:
        try:
            for message in self._call:
                self._fetched.put((message,))
                self._allowance.acquire()
                if self._closed:
                    return
        except Exception as error:
            self._fetched.put(error)
        else:
            self._fetched.put(None)

    def next(self, seconds: float) -> T | None:
        """The next message, or None at the end.

        Raises:
            grpc.RpcError
            TimeoutError: nothing came within so many seconds.
        """
        try:
            found = self._fetched.get(timeout=seconds)
        except Empty:
            raise TimeoutError from None
        if found is None:
            return None
        if isinstance(found, Exception):
            raise found
        self._allowance.release()
        return found[0]

    def close(self) -> None:
        """End the call, if it has not ended, and the thread."""
        self._closed = True
        self._call.cancel()
        self._allowance.release()
