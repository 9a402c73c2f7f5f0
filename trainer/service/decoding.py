"""Refuses requests that are not the message of their method.

gRPC itself answers those with INTERNAL, as if the service were to blame.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc

from trainer.service.api import refuse
from trainer.service.requests import MalformedRequestError


class RequestDecoder(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Stands directly before the handlers: what it lets through is the method's message."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        handler = await continuation(details)
        if handler is None:
            return None
        serializers = (_decoder(handler.request_deserializer), handler.response_serializer)
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(_unary(handler.unary_unary), *serializers)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(_stream(handler.unary_stream), *serializers)
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(_answer(handler.stream_unary), *serializers)
        return grpc.stream_stream_rpc_method_handler(_streams(handler.stream_stream), *serializers)


def _decoder(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Gives the error instead of raising it where there is no call yet that could be refused."""

    def decoded(content: bytes) -> Any:
        try:
            return decode(content)
        except Exception as error:  # whatever a library does not like of a stranger's bytes
            return MalformedRequestError(len(content), error)

    return decoded


def _unary(inner: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    async def checked(request: Any, context: grpc.aio.ServicerContext) -> Any:
        return await inner(await _message(request, context), context)

    return checked


def _stream(inner: Callable[..., Any]) -> Callable[..., Any]:
    async def checked(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        message = await _message(request, context)
        async with aclosing(responses(inner, message, context)) as answers:
            async for response in answers:
                yield response

    return checked


def _answer(inner: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    async def checked(requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> Any:
        return await inner(_messages(requests, context), context)

    return checked


def _streams(inner: Callable[..., Any]) -> Callable[..., Any]:
    async def checked(
        requests: AsyncIterator[Any], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[Any]:
        messages = _messages(requests, context)
        async with aclosing(responses(inner, messages, context)) as answers:
            async for response in answers:
                yield response

    return checked


async def _messages(
    requests: AsyncIterator[Any], context: grpc.aio.ServicerContext
) -> AsyncIterator[Any]:
    async for request in requests:
        yield await _message(request, context)


async def responses(
    inner: Callable[..., Any], request: Any, context: grpc.aio.ServicerContext
) -> AsyncGenerator[Any, None]:
    """What a streaming handler answers; one that is no generator writes by itself."""
    answer = inner(request, context)
    if inspect.isasyncgen(answer):
        async with aclosing(answer) as found:
            async for response in found:
                yield response
    else:
        await answer


async def _message(request: Any, context: grpc.aio.ServicerContext) -> Any:
    if isinstance(request, MalformedRequestError):
        await refuse(context, request)
    return request
