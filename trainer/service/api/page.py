"""How much of a list goes into one answer."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import Message

PAGE_BYTES = 3 * 2**20
"""A client of gRPC refuses answers above 4 MiB."""


def fitting(messages: Iterable[Message]) -> int:
    """How many of the first messages have room in an answer; one of them always has."""
    count = size = 0
    for message in messages:
        size += message.ByteSize()
        if count and size > PAGE_BYTES:
            break
        count += 1
    return count
