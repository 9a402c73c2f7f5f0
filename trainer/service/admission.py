"""Refuses calls at once when too many are under way, so that those which are keep their speed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc

from trainer.service.interceptor import Answering, Interceptor, Refuse, unread, wrapped
from trainer.service.settings import Limits


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
    """Room for calls and room for streams, of one gRPC service.

    The others have none: a flood of clients must not cost a run its runner, nor the health check.
    """

    def __init__(self, service: str, limits: Limits, refuse: Refuse) -> None:
        super().__init__()
        self._prefix = f"/{service}/"
        self._calls = Room(limits.calls, "calls")
        self._streams = Room(limits.streams, "streams")
        self._refuse = refuse

    def wrap(self, method: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        if not method.startswith(self._prefix):
            return handler
        room = self._streams if handler.response_streaming else self._calls

        @asynccontextmanager
        async def admitting(
            _request: Any, context: grpc.aio.ServicerContext
        ) -> AsyncIterator[Answering]:
            try:
                with room.inside():
                    yield unread
            except TooManyCallsError as error:
                await self._refuse(context, error)

        return wrapped(handler, admitting)
