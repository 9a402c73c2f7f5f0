"""How a client reaches a service, plain or by TLS, with a token; and how long it waits."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from sumgrad.trainer.addresses import is_loopback
from sumgrad.trainer.client.errors import UnreachableError
from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.token_format import id_and_secret

CALL_SECONDS = 30.0
"""Bound of every call but a stream."""

REACHABLE_SECONDS = 1.0

HEARTBEAT_SECONDS = 15.0
SILENCE_SECONDS = 3 * HEARTBEAT_SECONDS
"""A stream that brings nothing for so long, not even a heartbeat, is broken."""

_OPTIONS = [
    # A host that vanished is missed while a call is under way.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A service that was restarted is found again soon. The least backoff is the time that an
    # attempt has: on a busy machine, the first bytes of an answer may take more than 100 ms.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


@dataclass(frozen=True)
class Connection:
    """What a channel takes. Beyond this machine, it is encrypted, so a token is never in the clear.

    Attributes:
        credentials: of TLS; None for a plain connection, on loopback only.
        token: sent with every call, or empty.
    """

    address: str
    credentials: grpc.ChannelCredentials | None = field(repr=False)
    token: str = field(repr=False)

    @classmethod
    def of(
        cls,
        address: str,
        token: str | None = None,
        ca: str | Path | None = None,
        certificate: str | Path | None = None,
        key: str | Path | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> Connection:
        """From a client's arguments or, where they are None, the environment.

        An empty one is none at all, whatever the environment has. Raises UsageError.
        """
        ca = environment.get("SUMGRAD_CA") if ca is None else ca
        certificate = environment.get("SUMGRAD_CERT") if certificate is None else certificate
        key = environment.get("SUMGRAD_KEY") if key is None else key
        if bool(certificate) != bool(key):
            raise UsageError("a client's certificate and its key go together; give both")
        credentials = None
        if ca or certificate or not is_loopback(address):
            credentials = grpc.ssl_channel_credentials(
                _read("the CA", ca), _read("the key", key), _read("the certificate", certificate)
            )
        return cls(address, credentials, _token(token, environment))

    def channel(self) -> grpc.Channel:
        """A channel whose calls carry the token."""
        channel = (
            grpc.insecure_channel(self.address, _OPTIONS)
            if self.credentials is None
            else grpc.secure_channel(self.address, self.credentials, _OPTIONS)
        )
        return grpc.intercept_channel(channel, _WithToken(self.token)) if self.token else channel

    def aio_channel(self) -> grpc.aio.Channel:
        """The same for asyncio."""
        interceptors = [kind(self.token) for kind in _ASYNC] if self.token else []
        if self.credentials is None:
            return grpc.aio.insecure_channel(self.address, _OPTIONS, interceptors=interceptors)
        return grpc.aio.secure_channel(
            self.address, self.credentials, _OPTIONS, interceptors=interceptors
        )


def silent(address: str) -> UnreachableError:
    """The error of a stream that brought nothing."""
    return UnreachableError(f"the service at {address} said nothing for {SILENCE_SECONDS:.0f} s")


class _Sender:
    def __init__(self, token: str) -> None:
        self._authorization = ("authorization", f"Bearer {token}")

    def _send(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        metadata = [*(details.metadata or ()), self._authorization]
        return continuation(details._replace(metadata=metadata), request)


class _WithToken(
    _Sender,
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[misc]
    grpc.UnaryStreamClientInterceptor,  # type: ignore[misc]
):
    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return self._send(continuation, details, request)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return self._send(continuation, details, request)


class _AsyncUnary(_Sender, grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return await self._send(continuation, details, request)


class _AsyncStream(_Sender, grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[misc]
    async def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return await self._send(continuation, details, request)


_ASYNC = (_AsyncUnary, _AsyncStream)
"""In gRPC's asyncio, an interceptor is for one kind of call."""


def _read(what: str, path: str | Path | None) -> bytes | None:
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{what} {str(path)!r} cannot be read: {error.strerror}") from None


def _token(given: str | None, environment: Mapping[str, str]) -> str:
    """The token; no error message repeats it."""
    token, where = given or "", "the token"
    if given is None and environment.get("SUMGRAD_TOKEN"):
        token, where = environment["SUMGRAD_TOKEN"], "SUMGRAD_TOKEN"
    elif given is None and environment.get("SUMGRAD_TOKEN_FILE"):
        where = "SUMGRAD_TOKEN_FILE"
        token = (_read(where, environment[where]) or b"").decode("ascii", "replace").strip()
        if not token:
            raise UsageError(f"{where} {environment[where]!r} is empty")
    # gRPC would show what it cannot send.
    if token and id_and_secret(token) is None:
        raise UsageError(
            f"{where} is not a token, like sgt_<id>_<secret>; `sumgrad token create` makes one"
        )
    return token
