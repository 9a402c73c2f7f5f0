"""Counts every gRPC request by method and status code."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from sumgrad.trainer.service.calls.errors_to_status import outcome
from sumgrad.trainer.service.calls.interceptor import Answering, Interceptor, unread, wrapped
from sumgrad.trainer.service.prometheus import Metrics


class RequestCounter(Interceptor):
    """Unknown methods are counted together: callers choose their names."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__()
        self._metrics = metrics

    def unknown(self) -> None:
        self._metrics.request("unknown", "UNIMPLEMENTED")

    def wrap(self, method: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        @asynccontextmanager
        async def counting(
            _request: Any, context: grpc.aio.ServicerContext
        ) -> AsyncIterator[Answering]:
            code = "OK"
            try:
                yield unread
            except BaseException as error:
                code = outcome(error, context)
                raise
            finally:
                self._metrics.request(method, code)

        return wrapped(handler, counting)
