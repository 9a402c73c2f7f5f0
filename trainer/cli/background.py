"""Iterate in another thread, so that Ctrl-C cannot hit the code that is iterated."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


def in_background(items: Iterable[T]) -> Iterator[T]:
    """The same items, fetched by a thread.

    A KeyboardInterrupt that is raised inside gRPC's own Python code can leave one of its locks
    held, and the whole channel then waits for ever. Here it is raised in ``SimpleQueue.get``.
    """
    fetched: SimpleQueue[tuple[T] | Exception | None] = SimpleQueue()

    def fetch() -> None:
        try:
            for item in items:
                fetched.put((item,))
        except Exception as error:
            fetched.put(error)
        else:
            fetched.put(None)

    threading.Thread(target=fetch, name="watch", daemon=True).start()
    while (found := fetched.get()) is not None:
        if isinstance(found, Exception):
            raise found
        yield found[0]
