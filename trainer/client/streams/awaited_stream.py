"""A stream that is read on the event loop."""

from __future__ import annotations

import asyncio
from typing import Any, Generic, TypeVar

import grpc

T = TypeVar("T")


class AwaitedStream(Generic[T]):
    """The messages of a gRPC stream, each awaited for a bounded time; see BackgroundStream."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def next(self, seconds: float) -> T | None:
        """The next message, or None at the end.

        Raises:
            grpc.RpcError
            TimeoutError: nothing came within so many seconds.
        """
        async with asyncio.timeout(seconds):
            message = await self._call.read()
        return None if message is grpc.aio.EOF else message

    def close(self) -> None:
        """End the call, if it has not ended."""
        self._call.cancel()
