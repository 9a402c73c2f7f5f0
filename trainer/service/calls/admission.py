"""Refuses calls when too many wait or are under way, so that those which are keep their speed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any

import grpc

from sumgrad.trainer.service.calls.backlog import Backlog
from sumgrad.trainer.service.calls.interceptor import (
    Answering,
    Continuation,
    Interceptor,
    Refuse,
    unread,
    wrapped,
)
from sumgrad.trainer.service.settings import Limits

_gives_way: ContextVar[bool] = ContextVar("gives_way", default=False)


class TooManyCallsError(RuntimeError):
    """So many calls, or streams, are under way that another one would only slow them down."""

    def __init__(self, most: int, what: str) -> None:
        super().__init__(f"the service has {most} {what} under way; try again a little later")


class Room:
    """Lets so many in at a time."""

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._inside = 0

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Raises TooManyCallsError."""
        if self._inside >= self._most:
            raise TooManyCallsError(self._most, self._what)
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1


class Admission(Interceptor):
    """Room for calls and room for streams, of one gRPC service, and a bound on what waits for it.

    The others have none: a flood of clients must not cost a run its runner, nor the health check.

    Attributes:
        backlog: of the server that asks; to be set before its first call.
    """

    backlog: Backlog

    def __init__(self, service: str, limits: Limits, refuse: Refuse) -> None:
        super().__init__()
        self._limits = limits
        self._prefix = f"/{service}/"
        self._calls = Room(limits.calls, "calls")
        self._streams = Room(limits.streams, "streams")
        self._refuse = refuse

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        # In the call's own task, and before its message is read, which could be large.
        task = asyncio.current_task()
        assert task is not None
        self.backlog.take(task)
        if details.method.startswith(self._prefix):
            _gives_way.set(await self.backlog.gives_way())
        return await super().intercept_service(continuation, details)

    def wrap(self, method: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        if not method.startswith(self._prefix):
            return handler
        room = self._streams if handler.response_streaming else self._calls

        @asynccontextmanager
        async def admitting(
            _request: Any, context: grpc.aio.ServicerContext
        ) -> AsyncIterator[Answering]:
            try:
                if _gives_way.get():
                    raise TooManyCallsError(self._limits.calls, "calls")
                with room.inside():
                    yield unread
            except TooManyCallsError as error:
                await self._refuse(context, error)

        return wrapped(handler, admitting)
