"""A Ray cluster that others run."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from sumgrad.trainer.addresses import is_loopback, is_unspecified
from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.service.cluster.ray_api import RayApi, RayError

OLDEST_RAY = (2, 54)
"""The lower bound that pyproject.toml sets for this distribution."""


class RayCluster:
    """A cluster known by its dashboard's URL.

    Attributes:
        python: found on the path of its nodes.
        dashboard: that URL.

    Raises:
        UsageError: the address is not a dashboard's URL.
    """

    python = "python"

    def __init__(self, address: str, environment: Mapping[str, str] = os.environ) -> None:
        self.dashboard = _dashboard(address)
        self._environment = environment
        self._fits = False

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers that authorize calls; read each time, so that a token can be replaced."""
        token = _token(self._environment)
        return {"Authorization": f"Bearer {token}"} if token else {}

    def start(self) -> None:
        """Do nothing: others start it."""

    def alive(self) -> bool:
        """True: only its answers show whether it runs."""
        return True

    def cpus(self) -> tuple[float, ...]:
        """CPUs of each of its nodes.

        Raises:
            RayError: it does not answer, or its Ray is too old.
        """
        api = RayApi(self.dashboard, self.headers)
        if not self._fits:
            self._check_version(api.version())
        try:
            return api.cpus()
        except RayError:
            self._fits = False  # the next answer may come from another cluster
            raise

    def _check_version(self, version: str) -> None:
        numbers = tuple(int(number) for number in version.split(".")[:2] if number.isdecimal())
        if numbers < OLDEST_RAY:
            raise RayError(
                f"the Ray cluster at {self.dashboard} runs Ray {version}; sumgrad needs "
                f"{'.'.join(map(str, OLDEST_RAY))} or a later one there"
            )
        self._fits = True

    def stop(self) -> None:
        """Do nothing: others stop it."""

    def check_reaches(self, service: str) -> None:
        """Refuse a service address that runners on another machine cannot call back.

        Raises:
            UsageError
        """
        host = urlsplit(self.dashboard).hostname or ""
        leads_elsewhere = is_loopback(service) or is_unspecified(service)
        if leads_elsewhere and not _is_here(host):
            raise UsageError(
                f"runners on the cluster at {self.dashboard} cannot reach this service at "
                f"{service}; name a host:port that leads here from the cluster's nodes with "
                "--advertise"
            )


def _dashboard(address: str) -> str:
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username is not None or parts.query or parts.fragment:
        raise UsageError(
            f"the Ray address {_shown(address)!r} is not a dashboard's URL, where a cluster "
            "takes jobs; give that as http://host:8265 or https://host with --ray-address or "
            "RAY_ADDRESS, or unset RAY_ADDRESS to have a Ray of the service's own"
        )
    return address.rstrip("/")


def _shown(address: str) -> str:
    """An address without its possible passwords: all before an @, and the query."""
    return address.rpartition("@")[2].partition("?")[0]


def _token(environment: Mapping[str, str]) -> str:
    """The token where Ray's own tools find it: a variable, a named file, or the user's file.

    Raises:
        UsageError: the file cannot be read.
    """
    mode = environment.get("RAY_AUTH_MODE", "").lower()
    if mode == "disabled":
        return ""
    if token := environment.get("RAY_AUTH_TOKEN", "").strip():
        return token
    named = environment.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    if not named and mode != "token":
        return ""
    try:
        return path.read_text().strip()
    except OSError as error:
        raise UsageError(
            f"the Ray token's file {path} cannot be read: {error.strerror}; put the token into it, "
            "or name another with RAY_AUTH_TOKEN_PATH"
        ) from None


def _is_here(host: str) -> bool:
    """Whether a host name or address is this machine's."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError:
        return False
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as probe:
            try:
                probe.bind(address)
            except OSError:
                continue
            return True
    return False
