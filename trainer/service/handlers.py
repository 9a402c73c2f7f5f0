"""Something done around every call of a gRPC method, of whatever kind the method is."""

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
"""Given the request (or the stream of them) and the context, what is entered for the call."""


def wrapped(handler: grpc.RpcMethodHandler, around: Around) -> grpc.RpcMethodHandler:
    """The same method, with each call inside of ``around``."""
    kind = f"{_form(handler.request_streaming)}_{_form(handler.response_streaming)}"
    make: Any = getattr(grpc, f"{kind}_rpc_method_handler")
    inner = getattr(handler, kind)
    function = _stream(inner, around) if inspect.isasyncgenfunction(inner) else _one(inner, around)
    return make(function, handler.request_deserializer, handler.response_serializer)


def _form(streaming: bool) -> str:
    return "stream" if streaming else "unary"


def _one(inner: Callable[..., Awaitable[Any]], around: Around) -> Callable[..., Any]:
    """Also of a stream that the method writes into the context."""

    async def call(request: Any, context: grpc.aio.ServicerContext) -> Any:
        async with around(request, context) as answering:
            response = await inner(request, context)
            await answering(response)
            return response

    return call


def _stream(inner: Callable[..., AsyncGenerator[Any, None]], around: Around) -> Callable[..., Any]:
    async def call(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        # Closed with the call, and not whenever it is collected: it may hold files.
        async with (
            around(request, context) as answering,
            aclosing(inner(request, context)) as responses,
        ):
            async for response in responses:
                await answering(response)
                yield response

    return call


def outcome(error: BaseException, context: grpc.aio.ServicerContext) -> str:
    """The name of the status code with which a call ends that raised this."""
    if isinstance(error, grpc.aio.AbortError):
        return _name(context.code())
    return "UNKNOWN" if isinstance(error, Exception) else "CANCELLED"


def _name(code: grpc.StatusCode | int) -> str:
    """A status code's name; abort_with_status leaves the bare number in the context."""
    names = {status.value[0]: status.name for status in grpc.StatusCode}
    return names[code if isinstance(code, int) else code.value[0]]
