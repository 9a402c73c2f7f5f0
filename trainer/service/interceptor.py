"""Counts every gRPC request by method and status code."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from trainer.metrics import Metrics
from trainer.service.handlers import Answering, Continuation, outcome, wrapped


class RequestCounter(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Wraps each handler; methods that nobody serves are counted together."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        handler = await continuation(details)
        if handler is None:
            self._metrics.request("unknown", "UNIMPLEMENTED")
            return None

        @asynccontextmanager
        async def counting(
            _request: Any, context: grpc.aio.ServicerContext
        ) -> AsyncIterator[Answering]:
            code = "OK"
            try:
                yield _nothing
            except BaseException as error:
                code = outcome(error, context)
                raise
            finally:
                self._metrics.request(details.method, code)

        return wrapped(handler, counting)


async def _nothing(_response: object) -> None:
    pass
