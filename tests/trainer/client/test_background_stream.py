"""A stream that is read in another thread gives what the stream gives."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from sumgrad.trainer.client.streams.background_stream import MAX_AHEAD, BackgroundStream

SECONDS = 30.0


class Call:
    """A gRPC call that is played."""

    def __init__(self, messages: Iterable[Any]) -> None:
        self._messages = messages
        self.cancelled = threading.Event()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._messages)

    def cancel(self) -> None:
        self.cancelled.set()


def rest(stream: BackgroundStream[Any]) -> Iterator[Any]:
    while (message := stream.next(SECONDS)) is not None:
        yield message


def test_messages_come_in_order_and_end() -> None:
    assert list(rest(BackgroundStream(Call(range(1000))))) == list(range(1000))


def test_the_streams_error_is_raised_after_the_messages_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    stream = BackgroundStream[int](Call(failing()))
    assert stream.next(SECONDS) == 1
    with pytest.raises(LookupError, match="no more"):
        stream.next(SECONDS)


def test_another_thread_reads() -> None:
    def who() -> Iterator[int]:
        yield threading.get_ident()

    assert BackgroundStream[int](Call(who())).next(SECONDS) != threading.get_ident()


def test_a_message_that_does_not_come_is_waited_for_so_long() -> None:
    never = threading.Event()

    def silent() -> Iterator[int]:
        never.wait(SECONDS)
        yield 1

    call = Call(silent())
    stream = BackgroundStream[int](call)
    with pytest.raises(TimeoutError):
        stream.next(0.01)
    never.set()
    stream.close()
    assert call.cancelled.is_set()


def test_a_reader_that_stops_holds_the_stream_back() -> None:
    read: list[int] = []
    full = threading.Event()

    def endless() -> Iterator[int]:
        while True:
            read.append(len(read))
            if len(read) == MAX_AHEAD + 1:
                full.set()
            yield len(read)

    stream = BackgroundStream[int](Call(endless()))
    assert full.wait(SECONDS)
    stream.close()
    assert len(read) <= MAX_AHEAD + 2
