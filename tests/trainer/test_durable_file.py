"""Whole and durable or as before, for everything that writes such a file."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from sumgrad.layers import Affine, Network
from sumgrad.trainer.cli.verbs.predict import write_scores
from sumgrad.trainer.client import AsyncClient, Client
from sumgrad.trainer.client.prediction import Prediction
from sumgrad.trainer.durable_file import durable_file, durable_file_on_loop, name_of_partial
from sumgrad.trainer.service.outputs.weights_inbox import WeightsDamagedError, receive
from sumgrad.trainer.snapshots.local_folder import LocalFolder
from sumgrad.trainer.v1 import runner_pb2, service_pb2, service_pb2_grpc
from sumgrad.trainer.weights.weight_file import write_weights

SECONDS = 30.0
CONTENT = b"what is to be kept"
SHA256 = hashlib.sha256(CONTENT)

Write = Callable[[Path], None]


def written_here(path: Path) -> None:
    with durable_file(path) as file:
        file.write(CONTENT)


def written_on_a_loop(path: Path) -> None:
    async def write() -> None:
        async with durable_file_on_loop(path) as file:
            await asyncio.to_thread(file.write, CONTENT)

    asyncio.run(write())


def weights(path: Path) -> None:
    network = Network((Affine(2),), (3,))
    write_weights(path, network, np.ones(network.size, np.float32), {})


def snapshot_file(path: Path) -> None:
    LocalFolder(path.parent).write(path.name, [memoryview(CONTENT)])


def received(path: Path, sent: bytes = CONTENT) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield sent

    async def permitted() -> None:
        pass

    file = runner_pb2.AnnouncedWeights(bytes=len(CONTENT), sha256=SHA256.digest())
    asyncio.run(receive(path, file, chunks(), len(CONTENT), permitted))


class PlayedService(service_pb2_grpc.TrainerServiceServicer):
    """Has weights to download."""

    def DownloadWeights(  # noqa: N802
        self, request: service_pb2.DownloadWeightsRequest, context: grpc.ServicerContext
    ) -> Iterator[service_pb2.DownloadWeightsResponse]:
        file = service_pb2.WeightsFile(size=len(CONTENT))
        yield service_pb2.DownloadWeightsResponse(file=file)
        yield service_pb2.DownloadWeightsResponse(data=CONTENT)
        yield service_pb2.DownloadWeightsResponse(sha256=SHA256.hexdigest())


@contextmanager
def played_service() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    service_pb2_grpc.add_TrainerServiceServicer_to_server(PlayedService(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait(SECONDS)


def downloaded(path: Path) -> None:
    with played_service() as address, Client(address) as client:
        client.save_weights("r-1", path)


def downloaded_on_a_loop(path: Path) -> None:
    async def download(address: str) -> None:
        async with AsyncClient(address) as client:
            await client.save_weights("r-1", path)

    with played_service() as address:
        asyncio.run(download(address))


def scores(path: Path) -> None:
    write_scores(Prediction(np.ones((2, 3), np.float32), None, 1, False), path)


every_writer = pytest.mark.parametrize(
    "write",
    [
        written_here,
        written_on_a_loop,
        weights,
        snapshot_file,
        received,
        downloaded,
        downloaded_on_a_loop,
        scores,
    ],
    ids=lambda write: write.__name__,
)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Each fsync, with what it is called for, and each rename, with both names, in order."""
    made: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def seen_fsync(descriptor: int) -> None:
        made.append(("fsync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        fsync(descriptor)

    def seen_replace(source: Any, target: Any) -> None:
        made.append(("rename", f"{source} {target}"))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", seen_replace)
    return made


@every_writer
def test_content_then_name_then_folder_are_made_durable(
    write: Write, tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    path = tmp_path / "file.bin"
    write(path)
    partial = calls[0][1]
    assert calls[-3:] == [
        ("fsync", partial),
        ("rename", f"{partial} {path}"),
        ("fsync", str(tmp_path)),
    ]
    assert name_of_partial(Path(partial).name) == path.name
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


@every_writer
def test_each_write_has_a_partial_file_of_its_own(
    write: Write, tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    for _ in range(2):
        write(tmp_path / "file.bin")
    renamed = [what for call, what in calls if call == "rename"]
    assert len(set(renamed)) == 2


@every_writer
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_what_was_there(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"before")

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, no_space)
    with pytest.raises((OSError, RuntimeError), match="No space left on device"):
        write(path)
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"before"


def test_weights_that_come_damaged_leave_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"before")
    with pytest.raises(WeightsDamagedError):
        received(path, CONTENT[:-1] + b"?")
    assert [found.read_bytes() for found in tmp_path.iterdir()] == [b"before"]


def test_a_body_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")

    def write_half() -> None:
        with durable_file(path) as file:
            file.write(CONTENT)
            raise KeyError

    with pytest.raises(KeyError):
        write_half()
    assert [found.read_bytes() for found in tmp_path.iterdir()] == [b"before"]


def test_writers_of_the_same_path_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with durable_file(path) as first:
        first.write(b"first")
        with durable_file(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (".weights.0123abcd.partial", "weights"),
        (".a.b.0123abcd.partial", "a.b"),
        ("weights.partial", None),
        (".weights.partial", None),
        (".weights.0123abc.partial", None),
    ],
)
def test_a_partial_file_is_known_by_its_name(name: str, expected: str | None) -> None:
    assert name_of_partial(name) == expected
