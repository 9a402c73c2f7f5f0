"""How the client connects, and how long it waits for anything."""

from __future__ import annotations

import grpc

from trainer.client.errors import UnreachableError

CALL_SECONDS = 30.0
"""Bound of every call but a stream."""

REACHABLE_SECONDS = 1.0

HEARTBEAT_SECONDS = 15.0
SILENCE_SECONDS = 3 * HEARTBEAT_SECONDS
"""A stream on which nothing came for so long is broken."""

_OPTIONS = [
    # A host that vanished is missed while a call is under way.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A service that was restarted is found again soon.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


def channel(address: str) -> grpc.Channel:
    return grpc.insecure_channel(address, _OPTIONS)


def async_channel(address: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(address, _OPTIONS)


def silent(address: str) -> UnreachableError:
    """Of a stream on which nothing came."""
    return UnreachableError(f"the service at {address} said nothing for {SILENCE_SECONDS:.0f} s")
