"""What both clients are made of beside their calls: the address, the channel and its stub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sumgrad.trainer.addresses import DEFAULT_ADDRESS
from sumgrad.trainer.client.connection import Connection
from sumgrad.trainer.v1 import service_pb2_grpc


class BaseClient:
    """Calls to one service.

    Attributes:
        address: the service's host:port.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        token: str | None = None,
        ca: str | Path | None = None,
        certificate: str | Path | None = None,
        key: str | Path | None = None,
    ) -> None:
        """
        Args:
            address: the service's host:port.
            token: instead of the one in SUMGRAD_TOKEN or SUMGRAD_TOKEN_FILE.
            ca: file of the certificates that may vouch for the service, or SUMGRAD_CA. Without it
                loopback is plain, and elsewhere the system's certificates count.
            certificate: file of the caller's own, where the service asks for one, or SUMGRAD_CERT.
            key: of that certificate, or SUMGRAD_KEY.

        Raises:
            UsageError: one of them cannot be used.
        """
        self.address = address
        self._channel = self._open(Connection.of(address, token, ca, certificate, key))
        self._stub = service_pb2_grpc.TrainerServiceStub(self._channel)

    def _open(self, connection: Connection) -> Any:
        """The channel for calls of this kind."""
        raise NotImplementedError
