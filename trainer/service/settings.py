"""Where a service listens and keeps its state."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from sumgrad.trainer.addresses import (
    DEFAULT_ADDRESS,
    DEFAULT_METRICS_ADDRESS,
    host_and_port,
    is_loopback,
)
from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.service.queue.scheduling import NO_LIMITS, UserLimits

Code = Literal["job", "image"]


@dataclass(frozen=True)
class TlsFiles:
    """PEM files; with a client CA, callers need a certificate of it."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True)
class Limits:
    """What all clients together, and each connection, may take of the service.

    Attributes:
        calls: under way at a time, beyond which they are refused at once; and that wait inside
            gRPC, beyond which they are held for some seconds and refused then.
        streams: under way at a time, of those that watch; what comes beyond is refused at once.
        message_bytes: of a request.
        keepalive_seconds: after which a silent connection is asked whether it is still there.
        keepalive_timeout_seconds: after which one that does not answer is closed.
        shortest_ping_seconds: between questions of that kind from a client; who asks more often is
            disconnected.
        handshake_seconds: within which a new connection has to speak HTTP/2.
        idle_seconds: after which a connection without a call is closed.
        reader_seconds: a stream whose reader takes no response for so long ends with an error.
    """

    calls: int = 100
    streams: int = 1000
    message_bytes: int = 4 * 2**20
    keepalive_seconds: int = 30
    keepalive_timeout_seconds: int = 10
    shortest_ping_seconds: int = 10
    handshake_seconds: int = 10
    idle_seconds: int = 3600
    reader_seconds: int = 60

    def __post_init__(self) -> None:
        for field_ in fields(self):
            value = getattr(self, field_.name)
            if value < 1:
                raise UsageError(f"the limit {field_.name} must be ≥ 1, got {value}")


@dataclass(frozen=True)
class Settings:
    """A port of 0 takes a free one.

    Attributes:
        metrics_address: None serves no metrics.
        temporary: the service serves one command and its runs end with it.
        store: the URL of a Postgres for the run store; None is a file in the state folder.
        limits: what all clients together may take of it.
        user_limits: what one user may have at once, and ask for.
        preemption: whether runs give way to those of a higher priority.
        runner_address: where runners call, if not at ``address``. Their own token lets them in,
            never a client's certificate.
        tls: needed by every address that other machines reach.
        auth: ask for tokens on loopback too.
        reflection: tell clients which methods there are.
        data_roots, snapshot_roots, locations: what a specification may name; see Confinement.
        ray_address: URL of a Ray cluster's dashboard; None starts a Ray on this machine.
        code: whether our packages travel with each job, or the cluster's Python has them.
        advertise: host:port by which the cluster's nodes reach this service; None is where
            runners call otherwise.
    """

    state: Path
    address: str = DEFAULT_ADDRESS
    metrics_address: str | None = DEFAULT_METRICS_ADDRESS
    temporary: bool = False
    store: str | None = field(default=None, repr=False)
    limits: Limits = field(default_factory=Limits)
    user_limits: UserLimits = NO_LIMITS
    preemption: bool = True
    runner_address: str | None = None
    tls: TlsFiles | None = None
    auth: bool = False
    reflection: bool = True
    data_roots: tuple[Path, ...] = ()
    snapshot_roots: tuple[Path, ...] = ()
    locations: tuple[str, ...] = ()
    ray_address: str | None = None
    code: Code = "job"
    advertise: str | None = None

    @property
    def place(self) -> Path | str:
        """Of the run store: a file or a URL."""
        return self.state / "runs.db" if self.store is None else self.store

    @property
    def authenticates(self) -> bool:
        """Whether callers need a token."""
        return self.auth or not is_loopback(self.address)

    @property
    def confines(self) -> bool:
        """Whether specifications may name only what the operator has named."""
        return self.authenticates or bool(self.data_roots or self.snapshot_roots or self.locations)

    def check(self) -> None:
        """
        Raises:
            UsageError: settings that cannot be, or that leave a door open.
        """
        for address in (self.address, self.metrics_address, self.runner_address):
            if address is not None and not is_loopback(address) and self.tls is None:
                raise UsageError(
                    f"{address!r} can be reached from other machines, which needs TLS: give "
                    f"--tls-cert and --tls-key, or listen on loopback, like {DEFAULT_ADDRESS}, and "
                    "use an SSH tunnel"
                )
        if self.advertise is not None:
            host_and_port(self.advertise)
        if self.tls is not None and self.tls.client_ca is not None and self.runner_address is None:
            raise UsageError(
                "--tls-client-ca needs --runner-address too: runners have no certificate and call "
                "at an address of their own"
            )
