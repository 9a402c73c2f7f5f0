"""Refuses calls at once when too many are under way, so that those which are keep their speed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import grpc

from trainer.service.settings import Limits


class TooManyCallsError(RuntimeError):
    """So many calls, or streams, are under way that another one would only slow them down."""

    def __init__(self, most: int, what: str) -> None:
        super().__init__(f"the service has {most} {what} under way; try again a little later")


class Gate:
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


class Admission(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """A gate for calls and one for streams, of one gRPC service.

    The others have none: a flood of clients must not cost a run its runner, nor the health check.
    """

    def __init__(
        self,
        service: str,
        limits: Limits,
        refuse: Callable[[grpc.aio.ServicerContext, Exception], Awaitable[None]],
    ) -> None:
        self._prefix = f"/{service}/"
        self._calls = Gate(limits.calls, "calls")
        self._streams = Gate(limits.streams, "streams")
        self._refuse = refuse

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        handler = await continuation(details)
        if handler is None or not details.method.startswith(self._prefix):
            return handler
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(handler.unary_unary),
                handler.request_deserializer,
                handler.response_serializer,
            )
        return grpc.unary_stream_rpc_method_handler(
            self._stream(handler.unary_stream),
            handler.request_deserializer,
            handler.response_serializer,
        )

    def _unary(self, inner: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        async def admitted(request: Any, context: grpc.aio.ServicerContext) -> Any:
            try:
                with self._calls.inside():
                    return await inner(request, context)
            except TooManyCallsError as error:
                await self._refuse(context, error)

        return admitted

    def _stream(self, inner: Callable[..., AsyncGenerator[Any, None]]) -> Callable[..., Any]:
        async def admitted(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            try:
                with self._streams.inside():
                    async with aclosing(inner(request, context)) as responses:
                        async for response in responses:
                            yield response
            except TooManyCallsError as error:
                await self._refuse(context, error)

        return admitted
