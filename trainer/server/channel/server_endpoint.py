"""The server's end of the channel: one ROUTER socket for the workers and the runner."""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Sequence
from types import TracebackType

import numpy as np
import zmq
from zmq.auth.thread import ThreadAuthenticator

from sumgrad.layers.base.arrays import Array
from sumgrad.workers.channel import (
    LINGER_MS,
    ProcessGoneError,
    ServerAddress,
    SharedMemoryError,
    SharedVectors,
    host_identity,
)
from sumgrad.workers.v1 import work_pb2

Received = tuple[str, bytes, list[zmq.Frame]]
"""A message's sender, the message itself, and the vectors that came with it."""


class ServerEndpoint:
    """Holds the weights, knows who has joined and where each one's gradients lie.

    Messages are CURVE-encrypted and only holders of the run's key pair are let in.

    Args:
        size: length of the flat vector.
        host: address that workers on other hosts reach, and the only one that is bound.

    Attributes:
        weights: the flat vector. Workers on this host read this very memory.
        address: what workers and the runner need to connect.
    """

    def __init__(self, size: int, host: str = "127.0.0.1") -> None:
        self._memory = SharedVectors.create(1, size)
        self.weights: Array = self._memory.array[0]
        self._version = 0
        # Where the gradients of each worker that shares memory lie, and the version of the
        # weights that each of the others has.
        self._sums: dict[str, SharedVectors] = {}
        self._versions: dict[str, int] = {}
        # A descriptor of each process on this host, readable when it has ended.
        self._processes: dict[str, int] = {}

        server_public, server_secret = zmq.curve_keypair()
        peer_public, peer_secret = zmq.curve_keypair()
        self._context = zmq.Context()
        # An answer of the authenticator that comes too late must not keep the context open.
        self._context.linger = 0
        self._authenticator = ThreadAuthenticator(self._context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(credentials_provider=_Only(peer_public))
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.curve_server = True
        self._socket.curve_secretkey = server_secret
        self._socket.curve_publickey = server_public
        self._socket.sndhwm = self._socket.rcvhwm = 0
        # A worker that comes back under its name replaces its dead connection.
        self._socket.router_handover = True
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        local = f"ipc://@sumgrad-{secrets.token_hex(16)}"
        self._socket.bind(local)
        port = self._socket.bind_to_random_port(f"tcp://{host}")
        self.address = ServerAddress(
            local=local,
            remote=f"tcp://{host}:{port}",
            host=host_identity(),
            memory=self._memory.reference.SerializeToString(),
            server_key=server_public,
            peer_public=peer_public,
            peer_secret=peer_secret,
        )

    def publish(self) -> None:
        """Mark the weights as changed, so that workers get them before their next task."""
        self._version += 1

    def receive(self, timeout: float) -> Received | None:
        """The next message.

        None after ``timeout`` seconds, or as soon as there is no message but a worker is dead.
        """
        ready = self._poller.poll(math.ceil(timeout * 1000))
        if not any(source is self._socket for source, _ in ready):
            return None
        sender, head, *frames = self._socket.recv_multipart(copy=False)
        return sender.bytes.decode(), head.bytes, frames

    def dead(self) -> list[str]:
        """Admitted workers on this host whose processes have ended."""
        ready = {source for source, _ in self._poller.poll(0)}
        return [worker for worker, process in self._processes.items() if process in ready]

    def admit(self, worker: str, join: work_pb2.Join) -> None:
        """Map the memory that a worker's gradients will lie in.

        Raises:
            ProcessGoneError: its process has ended.
            SharedMemoryError: it announced memory that cannot be mapped.
        """
        self.forget(worker)
        if join.HasField("memory"):
            if join.memory.columns != len(self.weights):
                raise SharedMemoryError(f"{worker} has a network of another size")
            # First, so that memory that is found then shows that the process is the right one.
            self._watch(worker, join.memory.process)
            try:
                self._sums[worker] = SharedVectors.attach(join.memory)
            except SharedMemoryError:
                self.forget(worker)
                raise
        else:
            self._versions[worker] = -1

    def forget(self, worker: str) -> None:
        """Let go of what belongs to a worker."""
        self._versions.pop(worker, None)
        memory = self._sums.pop(worker, None)
        if memory is not None:
            memory.close()
        process = self._processes.pop(worker, None)
        if process is not None:
            self._poller.unregister(process)
            os.close(process)

    def _watch(self, worker: str, process: int) -> None:
        try:
            descriptor = os.pidfd_open(process)
        except ProcessLookupError:
            raise ProcessGoneError(f"there is no process {process}") from None
        self._processes[worker] = descriptor
        self._poller.register(descriptor, zmq.POLLIN)

    def vectors(self, worker: str, count: int, frames: Sequence[zmq.Frame]) -> list[Array]:
        """The gradients of an answer: ``count`` writable vectors."""
        if worker in self._sums:
            return list(self._sums[worker].array[:count])
        return [np.frombuffer(frame.buffer, dtype="<f4").copy() for frame in frames[:count]]

    def assign(self, worker: str, task: work_pb2.Task) -> None:
        """Send a task, with the weights if the worker cannot see them and has older ones."""
        frames = []
        if self._versions.get(worker, self._version) != self._version:
            self._versions[worker] = self._version
            frames = [self.weights.data]
        self.send(worker, work_pb2.ServerMessage(task=task).SerializeToString(), frames)

    def send(self, peer: str, message: bytes, frames: Sequence[memoryview] = ()) -> None:
        """Send to a peer; a peer that is not connected misses it."""
        self._socket.send_multipart([peer.encode(), message, *frames])

    def close(self) -> None:
        self._socket.close(linger=LINGER_MS)
        self._authenticator.stop()
        self._context.term()
        for worker in list(self._sums):
            self.forget(worker)
        self._memory.close()

    def __enter__(self) -> ServerEndpoint:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Only:
    """Lets in who holds the run's key."""

    def __init__(self, public: bytes) -> None:
        self._public = public

    def callback(self, domain: str, key: bytes) -> bool:
        # The authenticator hands over the key's 32 bytes as Z85 text.
        return key == self._public
