"""Where a service listens and keeps its state."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

DEFAULT_ADDRESS = "127.0.0.1:7433"
DEFAULT_METRICS_ADDRESS = "127.0.0.1:7434"

Code = Literal["job", "image"]


class SettingsError(ValueError):
    """A setting cannot be used; the message says which and what to do."""


def state_directory() -> Path:
    """``$SUMGRAD_STATE``, or ``sumgrad`` under the XDG state folder."""
    named = os.environ.get("SUMGRAD_STATE")
    if named:
        return Path(named).absolute()
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "sumgrad"


def host_and_port(address: str) -> tuple[str, int]:
    """``127.0.0.1:7433`` or ``[::1]:7433`` in two parts.

    Raises:
        SettingsError: it has another form.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise SettingsError(f"{address!r} is not host:port, like {DEFAULT_ADDRESS}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches itself by this name or address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_loopback(address: str) -> None:
    """Refuse an address that other machines reach.

    Raises:
        SettingsError: it is not on the loopback interface.
    """
    if not is_loopback(host_and_port(address)[0]):
        raise SettingsError(
            f"{address!r} can be reached from other machines, which is not supported without TLS; "
            f"listen on loopback, like {DEFAULT_ADDRESS}, and use an SSH tunnel"
        )


@dataclass(frozen=True)
class Settings:
    """A port of 0 takes a free one.

    Attributes:
        metrics_address: None serves no metrics.
        temporary: the service serves one command and its runs end with it.
        store: the URL of a Postgres for the run store; None is a file in the state folder.
        ray_address: URL of a Ray cluster's dashboard; None starts a Ray on this machine.
        code: whether our packages travel with each job, or the cluster's Python has them.
        advertise: host:port by which the cluster's nodes reach this service; None is ``address``.
    """

    state: Path
    address: str = DEFAULT_ADDRESS
    metrics_address: str | None = DEFAULT_METRICS_ADDRESS
    temporary: bool = False
    store: str | None = field(default=None, repr=False)
    ray_address: str | None = None
    code: Code = "job"
    advertise: str | None = None

    @property
    def place(self) -> Path | str:
        """Of the run store: a file or a URL."""
        return self.state / "runs.db" if self.store is None else self.store
