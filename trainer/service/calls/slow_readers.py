"""Ends a stream whose reader has stopped reading, so that it gives back what it holds."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from sumgrad.trainer.service.calls.interceptor import Interceptor, function, remade


class SlowReaderError(RuntimeError):
    """The reader of a stream left a response unread for too long."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"the stream ends here: a response was not read within {seconds} s; ask for what is "
            "missing again"
        )


class SlowReaders(Interceptor):
    """Closes the method that answers a stream when its reader takes no response for a while.

    gRPC sends a response once its reader has a buffer free for it, and the stream waits until then.
    What the method holds (files, one of the downloads at a time) is given back meanwhile. The
    stream itself stays under way, and is counted so, until its reader goes or reads on to the
    error.

    Args:
        seconds: how long a response may stay unread.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def wrap(self, _method: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        inner = function(handler)
        if not inspect.isasyncgenfunction(inner):
            return handler

        async def call(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            ended: asyncio.Future[None] | None = None

            def end() -> None:
                nonlocal ended
                ended = asyncio.ensure_future(responses.aclose())

            async with aclosing(inner(request, context)) as responses:
                async for response in responses:
                    bound = asyncio.get_running_loop().call_later(self._seconds, end)
                    try:
                        yield response
                    finally:
                        bound.cancel()
                        if ended is not None:
                            await ended
                    if ended is not None:
                        raise SlowReaderError(self._seconds)

        return remade(handler, call, handler.request_deserializer)
