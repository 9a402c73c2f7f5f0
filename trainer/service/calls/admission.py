"""Refuses calls while too many wait or are under way, so that those under way keep their speed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import grpc

from sumgrad.trainer.service.calls.backlog import Backlog
from sumgrad.trainer.service.calls.interceptor import (
    Answering,
    Continuation,
    Interceptor,
    unread,
    wrapped,
)
from sumgrad.trainer.service.calls.limiter import Limiter, TooManyCallsError

_gives_way: ContextVar[bool] = ContextVar("gives_way", default=False)


class Admission(Interceptor):
    """Limits one gRPC service's calls, its streams, and the backlog in front of both.

    The other services of the server are not limited: a flood of clients must cost neither a run its
    runner nor the operator the health check.

    Args:
        service: the full name of the service that is limited.
        calls, streams: under way at a time; more are refused.
        backlog: of the server.
    """

    def __init__(self, service: str, calls: int, streams: int, backlog: Backlog) -> None:
        super().__init__()
        self._max_calls = calls
        self._backlog = backlog
        self._prefix = f"/{service}/"
        self._calls = Limiter(calls, "calls")
        self._streams = Limiter(streams, "streams")

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        # In the call's own task, and before its message is read, which could be large.
        task = asyncio.current_task()
        assert task is not None
        self._backlog.take(task)
        if details.method.startswith(self._prefix):
            _gives_way.set(await self._backlog.gives_way())
        return await super().intercept_service(continuation, details)

    def wrap(self, method: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        if not method.startswith(self._prefix):
            return handler
        limiter = self._streams if handler.response_streaming else self._calls

        @asynccontextmanager
        async def admitting(
            _request: Any, _context: grpc.aio.ServicerContext
        ) -> AsyncIterator[Answering]:
            if _gives_way.get():
                raise TooManyCallsError(self._max_calls, "calls")
            with limiter.one():
                yield unread

        return wrapped(handler, admitting)
