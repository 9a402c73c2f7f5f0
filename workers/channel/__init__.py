"""How do tasks, weights and gradients travel? The channel to the server, seen from a worker."""

from sumgrad.workers.channel.address import ServerAddress, Vectors
from sumgrad.workers.channel.shared_memory import (
    ProcessGoneError,
    SharedMemoryError,
    SharedVectors,
    host_identity,
)
from sumgrad.workers.channel.worker_endpoint import LINGER_MS, WorkerEndpoint, connect

__all__ = [
    "LINGER_MS",
    "ProcessGoneError",
    "ServerAddress",
    "SharedMemoryError",
    "SharedVectors",
    "Vectors",
    "WorkerEndpoint",
    "connect",
    "host_identity",
]
