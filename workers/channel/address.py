"""Where a worker finds its parameter server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sumgrad.workers.channel.shared_memory import host_identity

Vectors = Literal["auto", "memory", "frames"]
"""How vectors travel: in shared memory, as frames, or by memory where both share a host."""


@dataclass(frozen=True)
class ServerAddress:
    """Endpoints and keys of one run's server, made for this run and handed out by Ray.

    Attributes:
        local: ipc endpoint, in the abstract namespace, so that no file is left behind.
        remote: tcp endpoint.
        host: identity of the server's host.
        memory: serialised ``sumgrad.workers.v1.Memory`` of the weights.
        server_key: CURVE public key of the server.
        peer_public, peer_secret: CURVE key pair of the run's workers.
    """

    local: str
    remote: str
    host: str
    memory: bytes
    server_key: bytes
    peer_public: bytes
    peer_secret: bytes

    def shares_memory(self, vectors: Vectors) -> bool:
        """Whether a process here can map the server's memory, and the run wants it to."""
        return vectors == "memory" or (vectors == "auto" and self.host == host_identity())
