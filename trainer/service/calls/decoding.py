"""Refuses requests that are not the message of their method.

gRPC itself answers them with INTERNAL, as if the service had failed.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from sumgrad.trainer.service.api.request_limits import MalformedRequestError
from sumgrad.trainer.service.calls.interceptor import (
    Answering,
    Interceptor,
    function,
    remade,
    unread,
    wrapped,
)


class RequestDecoder(Interceptor):
    """The innermost interceptor: what it lets through is the method's message."""

    def wrap(self, method: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        inner = function(handler)
        if handler.request_streaming:
            inner = _of_messages(inner)
        return wrapped(remade(handler, inner, _decoder(handler.request_deserializer)), _checking)


@asynccontextmanager
async def _checking(request: Any, _context: grpc.aio.ServicerContext) -> AsyncIterator[Answering]:
    _message(request)
    yield unread


def _decoder(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Decode, or return the error: where gRPC decodes, there is no call yet to be refused."""

    def decoded(content: bytes) -> Any:
        try:
            return decode(content)
        except Exception as error:  # whatever error a library has for such bytes
            return MalformedRequestError(len(content), error)

    return decoded


def _of_messages(inner: Callable[..., Any]) -> Callable[..., Any]:
    """A method that takes a stream, with each message checked when it comes."""

    async def stream(
        requests: AsyncIterator[Any], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[Any]:
        async for response in inner(_messages(requests), context):
            yield response

    async def one(requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> Any:
        return await inner(_messages(requests), context)

    return stream if inspect.isasyncgenfunction(inner) else one


async def _messages(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _message(request)


def _message(request: Any) -> Any:
    """The message. Raises MalformedRequestError if decoding gave that instead."""
    if isinstance(request, MalformedRequestError):
        raise request
    return request
