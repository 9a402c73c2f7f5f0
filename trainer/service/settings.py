"""The settings of a service: one table, from which options, help, file and checks follow."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from sumgrad.trainer.addresses import (
    DEFAULT_ADDRESS,
    DEFAULT_METRICS_ADDRESS,
    host_and_port,
    is_loopback,
)
from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.host import state_directory
from sumgrad.trainer.service.queue.scheduling import UserLimits

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


@dataclass(frozen=True)
class TlsFiles:
    """PEM files; with a client CA, callers need a certificate of it."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True)
class ConnectionLimits:
    """What one connection may take of the service. No option changes these.

    Attributes:
        message_bytes: of a request.
        keepalive_seconds: after which a silent connection is asked whether it is still there.
        keepalive_timeout_seconds: after which one that does not answer is closed.
        shortest_ping_seconds: between questions of that kind from a client; who asks more often is
            disconnected.
        handshake_seconds: within which a new connection has to speak HTTP/2.
        idle_seconds: after which a connection without a call is closed.
        reader_seconds: a stream whose reader takes no response for so long ends with an error.
    """

    message_bytes: int = 4 * 2**20
    keepalive_seconds: int = 30
    keepalive_timeout_seconds: int = 10
    shortest_ping_seconds: int = 10
    handshake_seconds: int = 10
    idle_seconds: int = 3600
    reader_seconds: int = 60

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 1:
                raise UsageError(f"the limit {field.name} must be ≥ 1, got {value}")


@dataclass(frozen=True)
class Option:
    """How an operator gives a setting.

    A field ``max_calls`` is the option ``--max-calls``, the key ``max_calls`` of the file and the
    variable ``SUMGRAD_MAX_CALLS``.

    Attributes:
        group: the settings beside which help and file show it.
        metavar: what its value looks like.
        variable: another name of the variable.
        default: what holds where nothing is given, in words.
        example: a value for the file, of a setting whose default is no value.
    """

    group: str
    metavar: str | None = None
    variable: str | None = None
    default: str | None = None
    example: Any = None


ADDRESSES, STORAGE, QUEUE = "Addresses", "Storage", "Queue"
LOAD, ACCESS, CLUSTER = "Load", "Access", "Cluster"


def _no_boolean(value: Any) -> Any:
    """Python's booleans are whole numbers, which no count is."""
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "a whole number")
    return value


Whole = Annotated[int, BeforeValidator(_no_boolean)]


class Settings(BaseModel):
    """What a service is started with. Fields without an Option are for programs and tests."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    address: Annotated[str, Option(ADDRESSES, "HOST:PORT", "SUMGRAD_SERVE_ADDRESS")] = Field(
        default=DEFAULT_ADDRESS, description="Where to serve gRPC; port 0 takes a free one."
    )
    metrics_address: Annotated[
        str | None, Option(ADDRESSES, "HOST:PORT", example=DEFAULT_METRICS_ADDRESS)
    ] = Field(default=DEFAULT_METRICS_ADDRESS, description="Where to serve /metrics over HTTP.")
    runner_address: Annotated[
        str | None,
        Option(ADDRESSES, "HOST:PORT", default="--address", example="192.0.2.1:7435"),
    ] = Field(
        default=None,
        description="Where runners call. They show a token of their run and no certificate.",
    )
    state: Annotated[
        Path, Option(STORAGE, "DIR", default="~/.local/state/sumgrad", example="/srv/sumgrad")
    ] = Field(default_factory=state_directory, description="Folder of the runs and their weights.")
    store: Annotated[
        str | None,
        Option(
            STORAGE,
            "URL",
            default="a file in the state folder",
            example="postgresql://sumgrad@db.example.org/sumgrad",
        ),
    ] = Field(
        default=None,
        description="A Postgres for the run store, like postgresql://user@host/database. Give its "
        "password in PGPASSWORD, PGPASSFILE or SUMGRAD_STORE.",
        repr=False,
    )
    max_runs_per_user: Annotated[Whole | None, Option(QUEUE, default="no limit", example=4)] = (
        Field(default=None, ge=1, description="Runs that one user may have active.")
    )
    max_cpus_per_user: Annotated[Whole | None, Option(QUEUE, default="no limit", example=16)] = (
        Field(default=None, ge=1, description="CPUs that the runs of one user may hold.")
    )
    max_waiting_per_user: Annotated[Whole, Option(QUEUE)] = Field(
        default=UserLimits.waiting,
        ge=1,
        description="Runs that one user may have queued or paused.",
    )
    max_priority: Annotated[Whole, Option(QUEUE)] = Field(
        default=UserLimits.priority,
        ge=INT32_MIN,
        le=INT32_MAX,
        description="The highest priority that submitters may ask for. Admins may ask for any.",
    )
    preemption: Annotated[bool, Option(QUEUE)] = Field(
        default=True,
        description="Whether runs make way, at a snapshot, for those of a higher priority.",
    )
    max_calls: Annotated[Whole, Option(LOAD)] = Field(
        default=100, ge=1, description="Client calls under way at a time. More are refused at once."
    )
    max_streams: Annotated[Whole, Option(LOAD)] = Field(
        default=1000, ge=1, description="Client streams, such as watch, under way at a time."
    )
    auth: Annotated[bool, Option(ACCESS)] = Field(
        default=False, description="Ask for tokens on loopback too. Other addresses always do."
    )
    tls_cert: Annotated[
        Path | None, Option(ACCESS, "FILE", default="no TLS", example="/etc/sumgrad/service.pem")
    ] = Field(default=None, description="Certificate and chain (PEM), to serve TLS.")
    tls_key: Annotated[
        Path | None, Option(ACCESS, "FILE", default="no TLS", example="/etc/sumgrad/service.key")
    ] = Field(default=None, description="Key of the certificate (PEM).")
    tls_client_ca: Annotated[
        Path | None, Option(ACCESS, "FILE", default="none", example="/etc/sumgrad/clients.pem")
    ] = Field(default=None, description="A CA (PEM) of which callers need a certificate.")
    reflection: Annotated[bool, Option(ACCESS)] = Field(
        default=True, description="Tell clients which methods there are."
    )
    data_root: Annotated[
        tuple[Path, ...], Option(ACCESS, "DIR", default="any", example=["/srv/data"])
    ] = Field(default=(), description="Data sets and checkpoints may lie below this folder.")
    snapshot_root: Annotated[
        tuple[Path, ...], Option(ACCESS, "DIR", default="any", example=["/srv/snapshots"])
    ] = Field(default=(), description="Snapshots and checkpoints may lie below this folder.")
    allow_location: Annotated[
        tuple[str, ...],
        Option(ACCESS, "s3://BUCKET/FOLDER", default="any", example=["s3://bucket/folder"]),
    ] = Field(default=(), description="Snapshots and checkpoints may lie below this address.")
    ray_address: Annotated[
        str | None,
        Option(CLUSTER, "URL", "RAY_ADDRESS", "a Ray of its own", "http://head.example.org:8265"),
    ] = Field(
        default=None,
        description="The dashboard of a Ray cluster, like http://host:8265. Its token comes from "
        "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH.",
    )
    code: Annotated[Literal["job", "image"], Option(CLUSTER)] = Field(
        default="job",
        description="On a cluster: send sumgrad's code with each job, or use that of its image.",
    )
    advertise: Annotated[
        str | None,
        Option(
            CLUSTER,
            "HOST:PORT",
            default="--runner-address or --address",
            example="trainer.example.org:7433",
        ),
    ] = Field(default=None, description="How the nodes of the cluster reach this service.")

    temporary: bool = False
    """Whether the service serves one command, and its runs end with it."""

    limits: ConnectionLimits = ConnectionLimits()

    @property
    def user_limits(self) -> UserLimits:
        """What one user may have at once, and ask for."""
        return UserLimits(
            self.max_runs_per_user,
            self.max_cpus_per_user,
            self.max_waiting_per_user,
            self.max_priority,
        )

    @property
    def tls(self) -> TlsFiles | None:
        """What every address needs that other machines reach."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        return TlsFiles(self.tls_cert, self.tls_key, self.tls_client_ca)

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
        return self.authenticates or bool(
            self.data_root or self.snapshot_root or self.allow_location
        )

    def check(self) -> None:
        """Check settings that depend on each other.

        Raises:
            UsageError: they contradict each other, or leave a door open.
        """
        if (self.tls_cert is None) != (self.tls_key is None) or (
            self.tls_client_ca is not None and self.tls is None
        ):
            raise UsageError("--tls-cert and --tls-key go together, and --tls-client-ca needs both")
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
