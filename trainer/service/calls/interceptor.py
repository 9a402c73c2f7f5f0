"""Base of the interceptors: something done around every call, whatever kind of method it is."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import grpc

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]]

Answering = Callable[[Any], Awaitable[None]]
"""Called with each response before it is sent."""

Around = Callable[[Any, grpc.aio.ServicerContext], AbstractAsyncContextManager[Answering]]
"""Makes, from the request (or the stream of requests) and the context, the context manager that is
entered for the call."""


class Interceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Wraps each handler once, when it is first called."""

    def __init__(self) -> None:
        self._wrapped: dict[str, tuple[grpc.RpcMethodHandler, grpc.RpcMethodHandler]] = {}

    def wrap(self, method: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        """The handler, with something done around its calls."""
        raise NotImplementedError

    def unknown(self) -> None:
        """Called for a method that the server does not have."""

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        # Asked every time: of two servers with these interceptors, one may not serve the method.
        handler = await continuation(details)
        if handler is None:
            self.unknown()
            return None
        known, ready = self._wrapped.get(details.method, (None, None))
        if known is not handler:
            ready = self.wrap(details.method, handler)
            self._wrapped[details.method] = (handler, ready)
        return ready


def wrapped(handler: grpc.RpcMethodHandler, around: Around) -> grpc.RpcMethodHandler:
    """The same method, with each call inside ``around``."""
    inner = function(handler)
    call = _stream(inner, around) if inspect.isasyncgenfunction(inner) else _one(inner, around)
    return remade(handler, call, handler.request_deserializer)


async def unread(_response: object) -> None:
    """The ``Answering`` that ignores the responses."""


def function(handler: grpc.RpcMethodHandler) -> Callable[..., Any]:
    """The function that answers calls of the method."""
    inner: Callable[..., Any] = getattr(handler, _kind(handler))
    return inner


def remade(
    handler: grpc.RpcMethodHandler, call: Callable[..., Any], decode: Callable[[bytes], Any]
) -> grpc.RpcMethodHandler:
    """A handler of the same kind of method."""
    make: Any = getattr(grpc, f"{_kind(handler)}_rpc_method_handler")
    return make(call, decode, handler.response_serializer)


def _kind(handler: grpc.RpcMethodHandler) -> str:
    return f"{_form(handler.request_streaming)}_{_form(handler.response_streaming)}"


def _form(streaming: bool) -> str:
    return "stream" if streaming else "unary"


def _one(inner: Callable[..., Awaitable[Any]], around: Around) -> Callable[..., Any]:
    """For one response, or a stream that the method writes into the context itself."""

    async def call(request: Any, context: grpc.aio.ServicerContext) -> Any:
        async with around(request, context) as answering:
            response = await inner(request, context)
            await answering(response)
            return response

    return call


def _stream(inner: Callable[..., AsyncGenerator[Any, None]], around: Around) -> Callable[..., Any]:
    async def call(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        # Closed with the call, not when it is collected: it may hold files.
        async with (
            around(request, context) as answering,
            aclosing(inner(request, context)) as responses,
        ):
            async for response in responses:
                await answering(response)
                yield response

    return call
