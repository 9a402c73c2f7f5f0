"""The channel between the parameter server and its workers, seen from the worker."""

from workers.channel.address import ServerAddress, Vectors
from workers.channel.link import LINGER_MS, Link, connect
from workers.channel.memory import (
    ProcessGoneError,
    SharedMemoryError,
    SharedVectors,
    host_identity,
)

__all__ = [
    "LINGER_MS",
    "Link",
    "ProcessGoneError",
    "ServerAddress",
    "SharedMemoryError",
    "SharedVectors",
    "Vectors",
    "connect",
    "host_identity",
]
