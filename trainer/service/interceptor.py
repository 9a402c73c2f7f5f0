"""Counts every gRPC request by method and status code."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from trainer.metrics import Metrics


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
        method = details.method
        if handler.unary_unary:
            inner = handler.unary_unary

            async def unary(request: Any, context: grpc.aio.ServicerContext) -> Any:
                try:
                    return await inner(request, context)
                finally:
                    self._count(method, context)

            return grpc.unary_unary_rpc_method_handler(
                unary, handler.request_deserializer, handler.response_serializer
            )
        if handler.unary_stream:
            stream_inner = handler.unary_stream

            async def stream(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
                try:
                    async for response in stream_inner(request, context):
                        yield response
                finally:
                    self._count(method, context)

            return grpc.unary_stream_rpc_method_handler(
                stream, handler.request_deserializer, handler.response_serializer
            )
        return handler

    def _count(self, method: str, context: grpc.aio.ServicerContext) -> None:
        code = context.code()
        status = {code.value[0]: code.name for code in grpc.StatusCode}
        number = code if isinstance(code, int) else code.value[0] if code else 0
        self._metrics.request(method, status.get(number, "UNKNOWN"))
