"""The channel: weights reach a worker and gradients the server, bit for bit, or not at all."""

from __future__ import annotations

import dataclasses
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import zmq

from sumgrad.trainer.server.channel.server_endpoint import ServerEndpoint
from sumgrad.workers.channel import (
    ServerAddress,
    SharedMemoryError,
    SharedVectors,
    WorkerEndpoint,
    connect,
    host_identity,
)
from sumgrad.workers.v1 import work_pb2

from support.gradient_check import Array
from support.leftovers import memory_files, nothing_left_behind, shared_files
from support.repository import ROOT
from support.waiting import eventually

SIZE = 1000
ROWS = 3
SECONDS = 20.0
"""Bound on every wait for something that does come."""

Vectors = Literal["memory", "frames"]
both_ways = pytest.mark.parametrize("vectors", ["memory", "frames"])


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with nothing_left_behind():
        yield


def some(seed: int, size: int = SIZE) -> Array:
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


@pytest.mark.slow
def test_what_is_left_behind_is_noticed() -> None:
    vectors = SharedVectors.create(1, SIZE)
    socket: zmq.Socket[bytes] | None = None
    with pytest.raises(AssertionError), nothing_left_behind():
        attached = SharedVectors.attach(vectors.reference)
    with pytest.raises(AssertionError), nothing_left_behind():
        socket = zmq.Context.instance().socket(zmq.DEALER)
    assert socket is not None
    socket.close()
    attached.close()
    vectors.close()


# Shared memory.

OTHER_PROCESS = """
import sys
from sumgrad.workers.channel import SharedVectors
from sumgrad.workers.v1 import work_pb2
vectors = SharedVectors.attach(work_pb2.Memory.FromString(bytes.fromhex(sys.argv[1])))
print(vectors.array.shape, vectors.array.sum())
vectors.array[1] *= 2
"""


@pytest.mark.slow
def test_another_process_reads_and_writes_the_same_memory() -> None:
    vectors = SharedVectors.create(2, SIZE)
    assert not vectors.array.any()
    vectors.array[:] = 1
    other = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS, vectors.reference.SerializeToString().hex()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert other.stdout == f"(2, {SIZE}) {2.0 * SIZE}\n", other.stderr
    assert (vectors.array[0] == 1).all()
    assert (vectors.array[1] == 2).all()
    vectors.close()


def test_attached_vectors_are_the_same_memory() -> None:
    vectors = SharedVectors.create(2, SIZE)
    attached = SharedVectors.attach(vectors.reference)
    attached.array[1, 7] = 3
    assert vectors.array[1, 7] == 3
    attached.close()
    vectors.close()


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 0), (0, 5), (1, 1 << 22)])
def test_any_shape_can_be_shared(rows: int, columns: int) -> None:
    vectors = SharedVectors.create(rows, columns)
    attached = SharedVectors.attach(vectors.reference)
    assert attached.array.shape == (rows, columns)
    attached.close()
    vectors.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"inode": 1},
        {"device": 10**6},
        {"rows": 3},
        {"columns": SIZE - 1},
        {"descriptor": 10**6},
        {"descriptor": 0},
        {"process": 2**31 - 1},
    ],
    ids=str,
)
def test_a_reference_to_something_else_is_refused(wrong: dict[str, int]) -> None:
    vectors = SharedVectors.create(2, SIZE)
    reference = work_pb2.Memory()
    reference.CopyFrom(vectors.reference)
    for field, value in wrong.items():
        setattr(reference, field, value)
    with pytest.raises(SharedMemoryError, match="/proc/"):
        SharedVectors.attach(reference)
    vectors.close()


def test_memory_that_its_owner_has_closed_is_refused() -> None:
    vectors = SharedVectors.create(2, SIZE)
    vectors.close()
    with pytest.raises(SharedMemoryError):
        SharedVectors.attach(vectors.reference)


def test_memory_is_freed_when_the_last_array_goes() -> None:
    before = len(memory_files())
    vectors = SharedVectors.create(2, SIZE)
    row = vectors.array[1]
    row[0] = 5
    vectors.close()
    del vectors
    gc.collect()
    # A gradient that is still needed stays readable after its worker is gone.
    assert row[0] == 5
    assert len(memory_files()) == before + 1
    del row
    gc.collect()
    assert len(memory_files()) == before


def test_memory_has_no_name_in_any_file_system() -> None:
    before = shared_files()
    vectors = SharedVectors.create(2, SIZE)
    vectors.array[:] = 1
    eventually(lambda: shared_files() <= before)
    assert str(Path(f"/proc/self/fd/{vectors.reference.descriptor}").readlink()).startswith(
        "/memfd:"
    )
    vectors.close()


def test_a_program_started_from_here_does_not_inherit_the_memory() -> None:
    vectors = SharedVectors.create(1, SIZE)
    assert not os.get_inheritable(vectors.reference.descriptor)
    vectors.close()


def test_vectors_travel_by_memory_where_the_run_wants_it_or_the_host_is_shared() -> None:
    here = ServerAddress("", "", host_identity(), b"", b"", b"", b"")
    elsewhere = dataclasses.replace(here, host="another")
    assert here.shares_memory("auto")
    assert not elsewhere.shares_memory("auto")
    assert elsewhere.shares_memory("memory")
    assert not here.shares_memory("frames")


# Both endpoints.


def received(server: ServerEndpoint) -> tuple[str, work_pb2.WorkerMessage, list[zmq.Frame]]:
    """The next message at the server."""
    message = server.receive(SECONDS)
    assert message is not None, "nothing has arrived"
    sender, head, frames = message
    return sender, work_pb2.WorkerMessage.FromString(head), frames


def task_of(worker: WorkerEndpoint) -> work_pb2.Task:
    """The next task at a worker."""
    message = worker.receive(SECONDS)
    assert message is not None, "nothing has arrived"
    assert message.WhichOneof("kind") == "task"
    return message.task


def join(server: ServerEndpoint, worker: WorkerEndpoint, name: str) -> None:
    worker.join("")
    sender, message, _ = received(server)
    assert (sender, message.WhichOneof("kind")) == (name, "join")
    server.admit(name, message.join)


TASK = work_pb2.Task(round=4, begin=1, end=4, gradient=work_pb2.Gradient(step=2))
ANSWER = work_pb2.Answer(round=4, begin=1, end=4, losses=[0.1, 0.2, 1e-300], metric=[4, 3])


@both_ways
def test_weights_arrive(vectors: Vectors) -> None:
    with (
        ServerEndpoint(SIZE) as server,
        WorkerEndpoint(server.address, "w", SIZE, ROWS, vectors) as worker,
    ):
        join(server, worker, "w")
        for seed in (1, 2):
            server.weights[:] = some(seed)
            server.publish()
            server.assign("w", TASK)
            assert task_of(worker) == TASK
            assert worker.weights.tobytes() == some(seed).tobytes()


@both_ways
def test_gradients_arrive(vectors: Vectors) -> None:
    with (
        ServerEndpoint(SIZE) as server,
        WorkerEndpoint(server.address, "w", SIZE, ROWS, vectors) as worker,
    ):
        join(server, worker, "w")
        for count in (2, 3, 1):
            worker.sums[:] = some(count, ROWS * SIZE).reshape(ROWS, SIZE)
            worker.answer(ANSWER, count)
            sender, message, frames = received(server)
            assert (sender, message.answer) == ("w", ANSWER)
            gradients = server.vectors("w", count, frames)
            assert len(gradients) == count
            for gradient, row in zip(gradients, worker.sums, strict=False):
                assert gradient.dtype == np.float32
                assert gradient.tobytes() == row.tobytes()
                gradient += 1  # the server sums in place
            del gradient, gradients


@both_ways
def test_an_evaluation_brings_no_vectors(vectors: Vectors) -> None:
    with (
        ServerEndpoint(SIZE) as server,
        WorkerEndpoint(server.address, "w", SIZE, ROWS, vectors) as worker,
    ):
        join(server, worker, "w")
        worker.answer(ANSWER, 0)
        assert received(server)[1:] == (work_pb2.WorkerMessage(answer=ANSWER), [])


def test_weights_are_sent_once_a_version() -> None:
    with (
        ServerEndpoint(SIZE) as server,
        WorkerEndpoint(server.address, "w", SIZE, ROWS, "frames") as worker,
    ):
        join(server, worker, "w")
        server.weights[:] = some(1)
        server.publish()
        server.assign("w", TASK)
        task_of(worker)
        worker.weights[:] = some(2)
        server.assign("w", TASK)
        task_of(worker)
        assert worker.weights.tobytes() == some(2).tobytes()
        server.publish()
        server.assign("w", TASK)
        task_of(worker)
        assert worker.weights.tobytes() == some(1).tobytes()


def test_weights_are_those_of_the_moment_they_were_sent() -> None:
    with (
        ServerEndpoint(SIZE) as server,
        WorkerEndpoint(server.address, "w", SIZE, ROWS, "frames") as worker,
    ):
        join(server, worker, "w")
        server.weights[:] = some(1)
        server.assign("w", TASK)
        server.weights[:] = some(2)
        task_of(worker)
        assert worker.weights.tobytes() == some(1).tobytes()


def test_workers_of_both_kinds_are_kept_apart() -> None:
    with (
        ServerEndpoint(SIZE) as server,
        WorkerEndpoint(server.address, "near", SIZE, ROWS, "memory") as near,
        WorkerEndpoint(server.address, "far", SIZE, ROWS, "frames") as far,
    ):
        join(server, near, "near")
        join(server, far, "far")
        near.sums[0], far.sums[0] = some(1), some(2)
        for worker, name, seed in ((far, "far", 2), (near, "near", 1)):
            worker.answer(ANSWER, 1)
            sender, _, frames = received(server)
            assert sender == name
            assert server.vectors(name, 1, frames)[0].tobytes() == some(seed).tobytes()


@both_ways
def test_an_answer_survives_its_worker(vectors: Vectors) -> None:
    with ServerEndpoint(SIZE) as server:
        with WorkerEndpoint(server.address, "w", SIZE, ROWS, vectors) as worker:
            join(server, worker, "w")
            worker.sums[:] = some(1)
            worker.answer(ANSWER, 2)
        del worker
        sender, message, frames = received(server)
        gradients = server.vectors("w", 2, frames)
        server.forget("w")
        assert (sender, message.answer) == ("w", ANSWER)
        assert [gradient.tobytes() for gradient in gradients] == 2 * [some(1).tobytes()]
        del gradients


@both_ways
def test_a_failure_survives_its_worker(vectors: Vectors) -> None:
    with ServerEndpoint(SIZE) as server:
        with WorkerEndpoint(server.address, "w", SIZE, ROWS, vectors) as worker:
            worker.fail("no data")
        assert received(server)[1].failure.message == "no data"


def test_a_worker_that_comes_back_under_its_name_is_heard() -> None:
    with ServerEndpoint(SIZE) as server:
        with WorkerEndpoint(server.address, "w", SIZE, ROWS, "memory") as first:
            join(server, first, "w")
        with WorkerEndpoint(server.address, "w", SIZE, ROWS, "memory") as second:
            join(server, second, "w")
            server.assign("w", TASK)
            assert task_of(second) == TASK
            second.sums[0] = some(3)
            second.answer(ANSWER, 1)
            _, _, frames = received(server)
            assert server.vectors("w", 1, frames)[0].tobytes() == some(3).tobytes()


def test_memory_of_another_size_is_refused() -> None:
    with (
        ServerEndpoint(SIZE) as server,
        WorkerEndpoint(server.address, "w", SIZE + 1, ROWS, "memory") as worker,
    ):
        worker.join("")
        _, message, _ = received(server)
        with pytest.raises(SharedMemoryError, match="w has a network of another size"):
            server.admit("w", message.join)


def test_a_message_to_nobody_is_lost_without_harm() -> None:
    with (
        ServerEndpoint(SIZE) as server,
        WorkerEndpoint(server.address, "w", SIZE, ROWS, "memory") as worker,
    ):
        server.send("nobody", b"hello")
        server.forget("nobody")
        join(server, worker, "w")


def test_silence_ends_the_wait() -> None:
    with (
        ServerEndpoint(SIZE) as server,
        WorkerEndpoint(server.address, "w", SIZE, ROWS, "frames") as worker,
    ):
        assert server.receive(0) is None
        assert worker.receive(0) is None


@pytest.mark.parametrize("endpoint", ["local", "remote"])
def test_a_peer_with_a_key_of_its_own_is_turned_away(endpoint: str) -> None:
    public, secret = zmq.curve_keypair()
    with (
        ServerEndpoint(SIZE) as server,
        WorkerEndpoint(server.address, "good", SIZE, ROWS, "memory") as good,
    ):
        stranger = dataclasses.replace(server.address, peer_public=public, peer_secret=secret)
        socket = connect(stranger, "stranger", getattr(server.address, endpoint))
        refused = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        monitor = socket.get_monitor_socket(refused)
        try:
            socket.send(b"let me in")
            assert monitor.poll(int(SECONDS * 1000)), "the stranger was not refused"
            for _ in range(3):
                good.join("")
                assert received(server)[0] == "good"
            assert server.receive(0) is None
        finally:
            socket.disable_monitor()
            monitor.close()
            socket.close(linger=0)


@pytest.mark.parametrize("kind", ["another server key", "no keys"])
def test_a_peer_without_the_servers_key_gets_nothing_through(kind: str) -> None:
    with (
        ServerEndpoint(SIZE) as server,
        WorkerEndpoint(server.address, "good", SIZE, ROWS, "frames") as good,
    ):
        if kind == "no keys":
            socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
            socket.identity = b"stranger"
            socket.connect(server.address.remote)
        else:
            stranger = dataclasses.replace(server.address, server_key=zmq.curve_keypair()[0])
            socket = connect(stranger, "stranger", server.address.remote)
        refused = zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        monitor = socket.get_monitor_socket(refused)
        try:
            socket.send(b"let me in")
            assert monitor.poll(int(SECONDS * 1000)), "the stranger was not refused"
            for _ in range(3):
                good.join("")
                assert received(server)[0] == "good"
            assert server.receive(0) is None
        finally:
            socket.disable_monitor()
            monitor.close()
            socket.close(linger=0)
