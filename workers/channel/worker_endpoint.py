"""The worker's end of the channel: tasks and weights come in, answers and gradients go out."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

import numpy as np
import zmq

from sumgrad.layers.base.arrays import Array
from sumgrad.workers.channel.address import ServerAddress, Vectors
from sumgrad.workers.channel.shared_memory import SharedVectors
from sumgrad.workers.host.probe import fingerprint
from sumgrad.workers.v1 import work_pb2

LINGER_MS = 2_000
"""A closing socket has this long to send what it still holds."""


class WorkerEndpoint:
    """A DEALER socket to the server, and the vectors beside it.

    Attributes:
        weights: the current weights, one flat vector; read-only for the worker.
        sums: (rows, size) vectors to write gradients into before answering.
    """

    def __init__(
        self, address: ServerAddress, worker: str, size: int, rows: int, vectors: Vectors = "auto"
    ) -> None:
        self._memory: SharedVectors | None = None
        self._shares = address.shares_memory(vectors)
        self._join = work_pb2.Join()
        if self._shares:
            reference = work_pb2.Memory.FromString(address.memory)
            self._weights_memory = SharedVectors.attach(reference)
            self._memory = SharedVectors.create(rows, size)
            self.weights: Array = self._weights_memory.array[0]
            self.sums: Array = self._memory.array
            self._join.memory.CopyFrom(self._memory.reference)
        else:
            self.weights = np.zeros(size, np.float32)
            self.sums = np.zeros((rows, size), np.float32)
        self._socket = connect(address, worker, address.local if self._shares else address.remote)

    @property
    def kind(self) -> str:
        """The way that vectors travel, in words."""
        return "vectors in shared memory" if self._shares else "vectors as frames"

    def join(self, data_digest: str) -> None:
        """Tell the server that this worker is ready for tasks, and what decides its bits."""
        own = fingerprint()
        self._join.data_digest = data_digest
        self._join.fingerprint = own.digest
        self._join.fingerprint_parts.update(own.parts)
        self._send(work_pb2.WorkerMessage(join=self._join))

    def receive(self, timeout: float) -> work_pb2.ServerMessage | None:
        """The next message, or None after ``timeout`` seconds.

        Weights that come with it are in ``weights`` when this returns.
        """
        if not self._socket.poll(int(timeout * 1000)):
            return None
        head, *frames = self._socket.recv_multipart(copy=False)
        if frames:
            self.weights[:] = np.frombuffer(frames[0].buffer, dtype="<f4")
        return work_pb2.ServerMessage.FromString(head.bytes)

    def answer(self, answer: work_pb2.Answer, vectors: int) -> None:
        """Answer a task; the first ``vectors`` rows of ``sums`` are its gradients."""
        frames = [] if self._shares else [row.data for row in self.sums[:vectors]]
        self._send(work_pb2.WorkerMessage(answer=answer), frames)

    def fail(self, message: str, permanent: bool = False) -> None:
        """Tell the server that this worker cannot go on, why, and whether no other could."""
        failure = work_pb2.Failure(message=message, permanent=permanent)
        self._send(work_pb2.WorkerMessage(failure=failure))

    def log(self, lines: Iterable[work_pb2.LogLine]) -> None:
        """Send log lines to the server, which passes them on."""
        self._send(work_pb2.WorkerMessage(log=work_pb2.LogLines(lines=lines)))

    def _send(
        self, message: work_pb2.WorkerMessage, frames: list[memoryview] | None = None
    ) -> None:
        self._socket.send_multipart([message.SerializeToString(), *(frames or [])])

    def close(self) -> None:
        self._socket.close(linger=LINGER_MS)
        if self._memory is not None:
            self._memory.close()
            self._weights_memory.close()

    def __enter__(self) -> WorkerEndpoint:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def connect(address: ServerAddress, identity: str, endpoint: str) -> zmq.Socket[bytes]:
    """A DEALER socket to the server, authenticated with the run's keys."""
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    socket.identity = identity.encode()
    socket.curve_serverkey = address.server_key
    socket.curve_publickey = address.peer_public
    socket.curve_secretkey = address.peer_secret
    socket.sndhwm = socket.rcvhwm = 0
    socket.connect(endpoint)
    return socket
