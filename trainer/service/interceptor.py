"""Counts every gRPC request by method and status code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from trainer.metrics import Metrics
from trainer.service.decoding import responses


class RequestCounter(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Wraps each handler; methods that nobody serves are counted together."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        handler = await continuation(details)
        if handler is None:
            self._metrics.request("unknown", "UNIMPLEMENTED")
            return None
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(details.method, handler.unary_unary),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(details.method, handler.unary_stream),
                handler.request_deserializer,
                handler.response_serializer,
            )
        return handler

    def _unary(self, method: str, inner: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        async def counted(request: Any, context: grpc.aio.ServicerContext) -> Any:
            with self._counting(method, context):
                return await inner(request, context)

        return counted

    def _stream(self, method: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        async def counted(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            with self._counting(method, context):
                async for response in responses(inner, request, context):
                    yield response

        return counted

    @contextmanager
    def _counting(self, method: str, context: grpc.aio.ServicerContext) -> Iterator[None]:
        code = "OK"
        try:
            yield
        except grpc.aio.AbortError:
            code = _name(context.code())
            raise
        except (asyncio.CancelledError, GeneratorExit):
            code = "CANCELLED"
            raise
        except Exception:
            code = "UNKNOWN"
            raise
        finally:
            self._metrics.request(method, code)


def _name(code: grpc.StatusCode | int) -> str:
    """A status code's name; abort_with_status leaves the bare number in the context."""
    names = {status.value[0]: status.name for status in grpc.StatusCode}
    return names[code if isinstance(code, int) else code.value[0]]
