"""How many items of a list fit into one answer."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import Message

MAX_PAGE_BYTES = 3 * 2**20
"""gRPC clients refuse answers above 4 MiB."""


def fitting(messages: Iterable[Message]) -> int:
    """How many of the messages, from the first on, fit into an answer; at least one does."""
    count = size = 0
    for message in messages:
        size += message.ByteSize()
        if count and size > MAX_PAGE_BYTES:
            break
        count += 1
    return count
