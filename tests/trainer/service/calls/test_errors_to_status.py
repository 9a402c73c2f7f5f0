"""A call whose handler raises ends with the status of the error, whatever kind of method it is."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from sumgrad.trainer.service.api.refusals import CODES, UNEXPECTED, reason
from sumgrad.trainer.service.api.request_limits import InvalidRequestError
from sumgrad.trainer.service.calls.errors_to_status import ErrorsToStatus, outcome
from sumgrad.trainer.service.calls.interceptor import Answering, Interceptor, unread, wrapped
from sumgrad.trainer.service.store.store_errors import StoreUnavailableError
from sumgrad.trainer.spec.violations import InvalidSpecError, Violation

from support.services import Loop
from support.waiting import SECONDS, eventually

MADE: dict[type[Exception], Exception] = {
    InvalidSpecError: InvalidSpecError([Violation("seed", "must be ≥ 0")]),
    InvalidRequestError: InvalidRequestError("name", "is wrong"),
    StoreUnavailableError: StoreUnavailableError("away"),
}
KINDS = ("Unary", "ServerStream", "ServerStreamAfterOne", "ClientStream")


class Inner(Interceptor):
    """Notes how calls end that pass it, and raises what it is told to before they do.

    Attributes:
        error: raised instead of calling the method, if there is one.
        outcomes: of the calls so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.error: BaseException | None = None
        self.outcomes: list[str] = []

    def wrap(self, _method: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        @asynccontextmanager
        async def noting(
            _request: Any, context: grpc.aio.ServicerContext
        ) -> AsyncIterator[Answering]:
            try:
                if self.error is not None:
                    raise self.error
                yield unread
            except BaseException as error:
                self.outcomes.append(outcome(error, context))
                raise

        return wrapped(handler, noting)


class Failing:
    """A server whose every method raises ``error``, or aborts with ``abort``."""

    def __init__(self) -> None:
        self.inner = Inner()
        self.error: Exception = ValueError()
        self.abort: grpc.StatusCode | None = None

    async def _fail(self, context: grpc.aio.ServicerContext) -> None:
        if self.abort is not None:
            await context.abort(self.abort, "by itself")
        raise self.error

    async def _one(self, _request: Any, context: grpc.aio.ServicerContext) -> bytes:
        await self._fail(context)
        return b""

    async def _many(
        self, _request: bytes, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[bytes]:
        await self._fail(context)
        yield b""

    async def _one_and_more(
        self, _request: bytes, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[bytes]:
        yield b"first"
        await self._fail(context)

    async def start(self) -> tuple[grpc.aio.Server, int]:
        server = grpc.aio.server(interceptors=[ErrorsToStatus(), self.inner])
        methods = {
            "Unary": grpc.unary_unary_rpc_method_handler(self._one),
            "ServerStream": grpc.unary_stream_rpc_method_handler(self._many),
            "ServerStreamAfterOne": grpc.unary_stream_rpc_method_handler(self._one_and_more),
            "ClientStream": grpc.stream_unary_rpc_method_handler(self._one),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", methods),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, port


@pytest.fixture
def failing() -> Failing:
    return Failing()


@pytest.fixture
def call(loop: Loop, failing: Failing) -> Iterator[Callable[[str], grpc.RpcError]]:
    """Calls a method of the failing server; how that ended."""
    server, port = loop.run(failing.start())
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:

        def ended(kind: str) -> grpc.RpcError:
            name = f"/test/{kind}"
            calls: dict[str, Callable[[], object]] = {
                "Unary": lambda: channel.unary_unary(name)(b"", timeout=SECONDS),
                "ClientStream": lambda: channel.stream_unary(name)(iter([b""]), timeout=SECONDS),
            }
            stream = channel.unary_stream(name)
            with pytest.raises(grpc.RpcError) as caught:
                calls.get(kind, lambda: list(stream(b"", timeout=SECONDS)))()
            return caught.value

        yield ended
    loop.run(server.stop(None))


@pytest.mark.parametrize("method", KINDS)
def test_each_refusal_has_its_code_and_reason(
    failing: Failing, call: Callable[[str], grpc.RpcError], method: str
) -> None:
    for kind, code in CODES.items():
        failing.error = MADE.get(kind) or kind.__new__(kind)
        ended = call(method)
        info = error_details_pb2.ErrorInfo()
        status = rpc_status.from_call(ended)
        assert status is not None
        assert status.details[-1].Unpack(info)
        assert (ended.code(), info.reason) == (code, reason(kind))
        assert failing.inner.outcomes.pop() == code.name


@pytest.mark.parametrize("method", KINDS)
def test_an_error_of_an_inner_interceptor_is_answered_for_in_the_same_way(
    failing: Failing, call: Callable[[str], grpc.RpcError], method: str
) -> None:
    failing.inner.error = StoreUnavailableError("away")
    ended = call(method)
    assert (ended.code(), ended.details()) == (grpc.StatusCode.UNAVAILABLE, "away")
    assert failing.inner.outcomes == ["UNAVAILABLE"]


@pytest.mark.parametrize("method", KINDS)
def test_an_unexpected_error_is_logged_and_not_told(
    failing: Failing,
    call: Callable[[str], grpc.RpcError],
    method: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    failing.error = LookupError("a secret")
    with caplog.at_level(logging.ERROR):
        ended = call(method)
    assert (ended.code(), ended.details()) == (grpc.StatusCode.UNKNOWN, UNEXPECTED)
    assert "secret" not in repr(ended.trailing_metadata())
    assert failing.inner.outcomes == ["UNKNOWN"]
    assert f"/test/{method} failed" in caplog.text
    assert "LookupError: a secret" in caplog.text


@pytest.mark.parametrize("method", KINDS)
def test_a_status_that_a_handler_chose_itself_stays(
    failing: Failing, call: Callable[[str], grpc.RpcError], method: str
) -> None:
    failing.abort = grpc.StatusCode.NOT_FOUND
    ended = call(method)
    assert (ended.code(), ended.details()) == (grpc.StatusCode.NOT_FOUND, "by itself")
    # abort answers the caller first.
    assert eventually(lambda: failing.inner.outcomes) == ["NOT_FOUND"]
