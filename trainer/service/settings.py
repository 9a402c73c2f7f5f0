"""Where a service listens and keeps its state."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field, fields
from pathlib import Path

from trainer.service.queue import NO_LIMITS, UserLimits

DEFAULT_ADDRESS = "127.0.0.1:7433"
DEFAULT_METRICS_ADDRESS = "127.0.0.1:7434"


class SettingsError(ValueError):
    """A setting cannot be used; the message says which and what to do."""


def state_directory() -> Path:
    """``$SUMGRAD_STATE``, or ``sumgrad`` under the XDG state folder."""
    named = os.environ.get("SUMGRAD_STATE")
    if named:
        return Path(named).absolute()
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "sumgrad"


def usable_cores() -> int:
    """Cores of this machine that this process may use."""
    return len(os.sched_getaffinity(0))


def host_and_port(address: str) -> tuple[str, int]:
    """``127.0.0.1:7433`` or ``[::1]:7433`` in two parts.

    Raises:
        SettingsError: it has another form.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise SettingsError(f"{address!r} is not host:port, like {DEFAULT_ADDRESS}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def require_loopback(address: str) -> None:
    """Refuse an address that other machines reach.

    Raises:
        SettingsError: it is not on the loopback interface.
    """
    host, _ = host_and_port(address)
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise SettingsError(
            f"{address!r} can be reached from other machines, which is not supported without TLS; "
            f"listen on loopback, like {DEFAULT_ADDRESS}, and use an SSH tunnel"
        )


@dataclass(frozen=True)
class Limits:
    """What all clients together, and each connection, may take of the service.

    Attributes:
        calls: under way at a time; what comes beyond is refused at once.
        streams: the same, of those that watch.
        message_bytes: of a request.
        keepalive_seconds: after which a silent connection is asked whether it is still there.
        keepalive_timeout_seconds: after which one that does not answer is closed.
        shortest_ping_seconds: between questions of that kind from a client; who asks more often is
            disconnected.
        handshake_seconds: within which a new connection has to speak HTTP/2.
        idle_seconds: after which a connection without a call is closed.
    """

    calls: int = 100
    streams: int = 1000
    message_bytes: int = 4 * 2**20
    keepalive_seconds: int = 30
    keepalive_timeout_seconds: int = 10
    shortest_ping_seconds: int = 10
    handshake_seconds: int = 20
    idle_seconds: int = 3600

    def __post_init__(self) -> None:
        for field_ in fields(self):
            value = getattr(self, field_.name)
            if value < 1:
                raise SettingsError(f"the limit {field_.name} must be ≥ 1, got {value}")


@dataclass(frozen=True)
class Settings:
    """A port of 0 takes a free one.

    Attributes:
        metrics_address: None serves no metrics.
        temporary: the service serves one command and its runs end with it.
        store: the URL of a Postgres for the run store; None is a file in the state folder.
        limits: what one user may have at once.
        preemption: whether runs give way to those of a higher priority.
    """

    state: Path
    address: str = DEFAULT_ADDRESS
    metrics_address: str | None = DEFAULT_METRICS_ADDRESS
    temporary: bool = False
    store: str | None = field(default=None, repr=False)
    limits: Limits = field(default_factory=Limits)
    user_limits: UserLimits = NO_LIMITS
    preemption: bool = True

    @property
    def place(self) -> Path | str:
        """Of the run store: a file or a URL."""
        return self.state / "runs.db" if self.store is None else self.store
