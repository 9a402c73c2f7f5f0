"""Answers a call that failed with the error's gRPC status, whoever raised the error."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc_status import rpc_status

from sumgrad.trainer.service.api.refusals import CODES, code_of, status_of
from sumgrad.trainer.service.calls.interceptor import Answering, Interceptor, unread, wrapped

_LOG = logging.getLogger(__name__)


class ErrorsToStatus(Interceptor):
    """The outermost interceptor: handlers and all other interceptors simply raise.

    An error that is not in the table of refusals is a fault of the service. It is logged, and the
    caller learns nothing of its text.
    """

    def wrap(self, method: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        @asynccontextmanager
        async def answering(
            _request: Any, context: grpc.aio.ServicerContext
        ) -> AsyncIterator[Answering]:
            try:
                yield unread
            except grpc.aio.AbortError:  # a library's servicer has chosen the status itself
                raise
            except Exception as error:
                if type(error) not in CODES:
                    _LOG.exception("%s failed", method)
                await context.abort_with_status(rpc_status.to_status(status_of(error)))

        return wrapped(handler, answering)


def outcome(error: BaseException, context: grpc.aio.ServicerContext) -> str:
    """The name of the status code with which a call ends that raised this error."""
    if isinstance(error, grpc.aio.AbortError):
        return _name(context.code())
    return code_of(error).name if isinstance(error, Exception) else "CANCELLED"


def _name(code: grpc.StatusCode | int) -> str:
    """A status code's name; abort leaves the bare number in the context."""
    names = {status.value[0]: status.name for status in grpc.StatusCode}
    return names[code if isinstance(code, int) else code.value[0]]
