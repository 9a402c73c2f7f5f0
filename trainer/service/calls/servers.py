"""The gRPC servers: which interceptors a call passes, and the limits of connections."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc

from sumgrad.trainer.addresses import host_and_port
from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.service.calls.admission import Admission
from sumgrad.trainer.service.calls.backlog import Backlog
from sumgrad.trainer.service.calls.decoding import RequestDecoder
from sumgrad.trainer.service.calls.errors_to_status import ErrorsToStatus
from sumgrad.trainer.service.calls.gate import Gate
from sumgrad.trainer.service.calls.outstanding import counting_server
from sumgrad.trainer.service.calls.request_counter import RequestCounter
from sumgrad.trainer.service.calls.slow_readers import SlowReaders
from sumgrad.trainer.service.prometheus import Metrics
from sumgrad.trainer.service.settings import Settings
from sumgrad.trainer.v1 import service_pb2

TRAINER_SERVICE = service_pb2.DESCRIPTOR.services_by_name["TrainerService"].full_name

STOP_SECONDS = 2.0
"""Open calls have this long to end when a server stops."""

PENDING = 50
"""Times the limit of calls, gRPC's own bound on calls that wait inside it. Beyond, it cancels
calls, which clients take for their own doing; so it is far above what the service refuses itself.
"""


def client_server(settings: Settings, metrics: Metrics, gate: Gate) -> grpc.aio.Server:
    """A server with all limits; runners may call it too."""

    def interceptors(outstanding: Callable[[], int]) -> list[grpc.aio.ServerInterceptor]:
        return [
            ErrorsToStatus(),
            RequestCounter(metrics),
            Admission(
                TRAINER_SERVICE,
                settings.max_calls,
                settings.max_streams,
                Backlog(settings.max_calls, outstanding),
            ),
            gate,
            SlowReaders(settings.limits.reader_seconds),
            # Last: what it lets through is the method's message.
            RequestDecoder(),
        ]

    return counting_server(interceptors, _options(settings))


def runner_server(settings: Settings, metrics: Metrics, gate: Gate) -> grpc.aio.Server:
    """A server for runners alone."""
    interceptors = [ErrorsToStatus(), RequestCounter(metrics), gate, RequestDecoder()]
    return grpc.aio.server(interceptors=interceptors, options=_options(settings))


def _options(settings: Settings) -> list[tuple[str, int]]:
    limits, calls = settings.limits, settings.max_calls
    return [
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.keepalive_time_ms", limits.keepalive_seconds * 1000),
        ("grpc.keepalive_timeout_ms", limits.keepalive_timeout_seconds * 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", limits.shortest_ping_seconds * 1000),
        ("grpc.server_handshake_timeout_ms", limits.handshake_seconds * 1000),
        ("grpc.max_connection_idle_ms", limits.idle_seconds * 1000),
        ("grpc.server.max_pending_requests", PENDING * calls),
        ("grpc.server.max_pending_requests_hard_limit", 2 * PENDING * calls),
        # What one connection carries beyond that waits at its client.
        ("grpc.max_concurrent_streams", calls + settings.max_streams),
        # Two services on one port would split the calls between them.
        ("grpc.so_reuseport", 0),
    ]


@asynccontextmanager
async def open_port(
    server: grpc.aio.Server,
    address: str,
    option: str,
    credentials: grpc.ServerCredentials | None,
) -> AsyncIterator[str]:
    """Have a port for a server that has not started yet; its address, with the port that was found.

    Raises:
        UsageError: the address is in use.
    """
    host, _ = host_and_port(address)
    try:
        if credentials is None:
            found = server.add_insecure_port(address)
        else:
            found = server.add_secure_port(address, credentials)
    except RuntimeError:
        raise UsageError(
            f"{address} is in use; stop what listens there or choose another with {option}"
        ) from None
    try:
        yield f"{host}:{found}"
    finally:
        # Stopping a server that has never started leaves its port open.
        with contextlib.suppress(grpc.aio.UsageError):  # it has started
            await server.start()
        await server.stop(None)


@asynccontextmanager
async def answering(server: grpc.aio.Server) -> AsyncIterator[None]:
    """Have a server answer calls; those that are open at the end have STOP_SECONDS."""
    await server.start()
    try:
        yield
    finally:
        await server.stop(STOP_SECONDS)
