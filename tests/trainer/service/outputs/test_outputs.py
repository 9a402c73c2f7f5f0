"""What a run has to give: its weights as a download, and predictions by them."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import json
import math
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from safetensors.numpy import load, load_file

from sumgrad.layers import LOSSES
from sumgrad.trainer.cli.verbs.predict import prediction_document, read_input
from sumgrad.trainer.client import (
    AsyncClient,
    BusyError,
    Client,
    ClientError,
    InvalidRequestError,
    NotFoundError,
    NoWeightsError,
    UnreachableError,
)
from sumgrad.trainer.client.errors import typed
from sumgrad.trainer.client.prediction import Prediction
from sumgrad.trainer.client.weights_download import DamagedDownloadError, WeightsDownload
from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.service.api import trainer_service
from sumgrad.trainer.service.outputs import predictor, run_weights
from sumgrad.trainer.service.settings import ConnectionLimits
from sumgrad.trainer.snapshots.snapshot import Snapshot
from sumgrad.trainer.snapshots.snapshot_store import SnapshotStore
from sumgrad.trainer.spec.parse import parse
from sumgrad.trainer.v1 import run_pb2, service_pb2, service_pb2_grpc
from sumgrad.trainer.weights.layout import layout
from sumgrad.trainer.weights.weight_file import write_weights

from support.services import PlayedRunner, RunningService, StartService
from support.waiting import SECONDS, eventually

Arrays = dict[str, np.ndarray[Any, Any]]


class Trained:
    """A run that is played; its files are where a runner would have left them."""

    def __init__(self, service: RunningService, document: dict[str, Any], state: Path) -> None:
        self.run = service.client.submit(document)
        self.runner: PlayedRunner = service.next_runner()
        self.runner.take()
        job = parse(document).job()
        self.network = job.network(job.source.describe())
        self.flat = self.network.init(3)
        self.folder = state / "runs" / self.run.id

    @property
    def id(self) -> str:
        return self.run.id

    def finish(self) -> None:
        write_weights(self.folder / "weights.safetensors", self.network, self.flat, {"name": "x"})
        self.runner.report(finished=run_pb2.Result(steps=46))

    def snapshot(self, step: int, factor: float) -> None:
        """Of weights times this factor."""
        arrays = {"weights": self.flat * np.float32(factor), "rule.momentum": self.flat}
        more = {"more": {"layout": layout(self.network)}}
        SnapshotStore(str(self.folder / "snapshots"), 2).save(Snapshot(step, arrays, more))

    def scores(self, x: np.ndarray[Any, Any], factor: float = 1.0) -> np.ndarray[Any, Any]:
        """Of affine_relu and affine, by hand, in float64."""
        hidden, top = (
            {name: value.astype(np.float64) * factor for name, value in views.items()}
            for views in self.network.views(self.flat)
        )
        h = np.maximum(0, x.reshape(len(x), -1).astype(np.float64) @ hidden["W"].T + hidden["b"])
        return h @ top["W"].T + top["b"]


@pytest.fixture
def trained(service: RunningService, document: dict[str, Any], tmp_path: Path) -> Trained:
    return Trained(service, document, tmp_path / "state")


@pytest.fixture
def rows() -> np.ndarray[Any, Any]:
    return np.random.default_rng(5).random((1_100, 8, 8, 1)).astype(np.float32)


# --- weights ------------------------------------------------------------------------------------


def test_the_weights_of_a_finished_run_arrive_as_they_lie_on_disk(
    service: RunningService, trained: Trained, tmp_path: Path
) -> None:
    trained.finish()
    output = tmp_path / "here.safetensors"
    found = service.client.save_weights(trained.id, output)
    assert output.read_bytes() == (trained.folder / "weights.safetensors").read_bytes()
    assert (found.step, found.snapshot, found.size) == (46, False, output.stat().st_size)
    arrays = service.client.download(trained.id, step=46)
    assert {name: list(array.shape) for name, array in arrays.items()} == dict(
        layout(trained.network)
    )
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_a_running_run_gives_its_newest_snapshot_or_the_one_that_is_asked_for(
    service: RunningService, trained: Trained, tmp_path: Path
) -> None:
    with pytest.raises(NoWeightsError, match=r"is running, .* no snapshot .*: wait for one"):
        service.client.download(trained.id)
    trained.snapshot(10, 1.0)
    trained.snapshot(20, 2.0)
    found = service.client.save_weights(trained.id, tmp_path / "w")
    assert (found.step, found.snapshot) == (20, True)
    newest, older = load_file(tmp_path / "w"), service.client.download(trained.id, step=10)
    for slot in trained.network.slots:
        name = f"{slot.layer}.{slot.name}"
        wanted = trained.network.views(trained.flat)[slot.layer][slot.name]
        assert np.array_equal(older[name], wanted)
        assert np.array_equal(newest[name], 2 * wanted)
    with pytest.raises(NoWeightsError, match=r"no weights of step 15 here; there are .*: 10, 20$"):
        service.client.download(trained.id, step=15)
    with pytest.raises(NotFoundError):
        service.client.download("r-9")


def test_weights_that_are_not_where_the_service_is_are_said_to_be_elsewhere(
    service: RunningService, trained: Trained
) -> None:
    trained.runner.report(finished=run_pb2.Result(steps=46))
    with pytest.raises(NoWeightsError, match=r"cannot be read from .*: they may lie on the host"):
        service.client.download(trained.id)


def test_a_large_file_comes_in_pieces_of_at_most_a_mebibyte(
    service: RunningService, document: dict[str, Any], tmp_path: Path
) -> None:
    document["model"]["layers"][0]["units"] = 9_000
    trained = Trained(service, document, tmp_path / "state")
    trained.finish()
    found = list(service.client._weights(trained.id, None))
    kinds = [response.WhichOneof("kind") for response in found]
    assert kinds == ["file", *["data"] * (len(found) - 2), "sha256"]
    pieces = [response.data for response in found[1:-1]]
    assert max(map(len, pieces)) <= 2**20 < sum(map(len, pieces))
    content = b"".join(pieces)
    assert hashlib.sha256(content).hexdigest() == found[-1].sha256
    assert load(content).keys() == {"0.W", "0.b", "1.W", "1.b"}


LARGE = 64 * 2**20
"""More than gRPC takes of a response that nobody reads."""


@contextmanager
def stalled_downloads(service: RunningService, trained: Trained, count: int) -> Iterator[list[Any]]:
    """Calls that have begun, and of which nobody reads any more."""
    request = service_pb2.DownloadWeightsRequest(id=trained.id)
    with ExitStack() as stack:
        calls = []
        for _ in range(count):
            channel = stack.enter_context(grpc.insecure_channel(service.address))
            calls.append(service_pb2_grpc.TrainerServiceStub(channel).DownloadWeights(request))
            assert next(calls[-1]).file.size == LARGE
        yield calls


def finish_with_large_file(trained: Trained) -> None:
    trained.finish()
    os.truncate(trained.folder / "weights.safetensors", LARGE)


@pytest.mark.slow
def test_a_download_beyond_the_limit_is_refused_at_once_and_there_is_room_when_one_ends(
    service: RunningService, trained: Trained, tmp_path: Path
) -> None:
    finish_with_large_file(trained)
    with stalled_downloads(service, trained, trainer_service.MAX_DOWNLOADS) as calls:
        with pytest.raises(BusyError, match="4 downloads of weights under way; try again"):
            service.client.save_weights(trained.id, tmp_path / "w")
        assert list(tmp_path.glob("*w*")) == []
        calls[0].cancel()
        eventually(lambda: saved(service, trained, tmp_path / "w"))
    assert (tmp_path / "w").stat().st_size == LARGE


def saved(service: RunningService, trained: Trained, output: Path) -> bool:
    try:
        service.client.save_weights(trained.id, output)
    except BusyError:
        return False
    return True


@pytest.mark.slow
def test_readers_that_do_not_read_keep_nobody_out(
    start_service: StartService, document: dict[str, Any], tmp_path: Path
) -> None:
    service = start_service(limits=ConnectionLimits(reader_seconds=1))
    trained = Trained(service, document, tmp_path / "state")
    finish_with_large_file(trained)
    with stalled_downloads(service, trained, trainer_service.MAX_DOWNLOADS) as calls:
        eventually(lambda: saved(service, trained, tmp_path / "w"))
        for call in calls:
            with pytest.raises(grpc.RpcError) as caught:
                list(call)
            error = typed(caught.value, service.address)
            assert (type(error), error.reason) == (UnreachableError, "SLOW_READER")


def save_on_a_loop(address: str, run_id: str, output: Path) -> service_pb2.WeightsFile:
    async def save_weights() -> service_pb2.WeightsFile:
        async with AsyncClient(address) as client:
            return await client.save_weights(run_id, output)

    return asyncio.run(save_weights())


def save_in_a_thread(address: str, run_id: str, output: Path) -> service_pb2.WeightsFile:
    with Client(address) as client:
        return client.save_weights(run_id, output)


both_clients = pytest.mark.parametrize("save_by", [save_in_a_thread, save_on_a_loop])


@pytest.mark.slow
@both_clients
def test_what_has_come_of_a_download_is_on_disk_before_the_rest_comes(
    service: RunningService,
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    save_by: Callable[..., service_pb2.WeightsFile],
) -> None:
    trained.finish()
    pieces = [bytes([number]) * 2**20 for number in range(32)]
    folder = tmp_path / "there"
    folder.mkdir()

    def download(_place: object) -> Iterator[service_pb2.DownloadWeightsResponse]:
        yield response(file=service_pb2.WeightsFile(size=32 * 2**20))
        for piece in pieces[:-1]:
            yield response(data=piece)
        eventually(lambda: [path for path in folder.iterdir() if path.stat().st_size >= 8 * 2**20])
        yield response(data=pieces[-1])
        yield response(sha256=hashlib.sha256(b"".join(pieces)).hexdigest())

    monkeypatch.setattr(run_weights, "download", download)
    found = save_by(service.address, trained.id, folder / "w")
    assert found.size == 32 * 2**20
    assert [path.name for path in folder.iterdir()] == ["w"]
    assert (folder / "w").read_bytes() == b"".join(pieces)


@both_clients
@pytest.mark.parametrize("fault", ["damaged", "no room", "folder"])
def test_a_download_that_fails_leaves_what_was_there(
    service: RunningService,
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    save_by: Callable[..., service_pb2.WeightsFile],
    fault: str,
) -> None:
    trained.finish()
    output = tmp_path / "there" / "w"
    if fault != "folder":
        output.parent.mkdir()
        output.write_bytes(b"before")
    if fault == "damaged":
        damaged = (each for each in [response(data=b"x")])
        monkeypatch.setattr(run_weights, "download", lambda _: damaged)
    if fault == "no room":
        monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises((DamagedDownloadError, OSError), match=FAULTS[fault]):
        save_by(service.address, trained.id, output)
    if fault != "folder":
        assert [path.read_bytes() for path in output.parent.iterdir()] == [b"before"]


def test_a_download_that_is_cancelled_leaves_what_was_there(
    service: RunningService, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained.finish()
    output = tmp_path / "there" / "w"
    output.parent.mkdir()
    output.write_bytes(b"before")
    begun, go_on = threading.Event(), threading.Event()

    def download(_place: object) -> Iterator[service_pb2.DownloadWeightsResponse]:
        yield response(data=b"x")
        begun.set()
        assert go_on.wait(SECONDS)

    async def cancel() -> None:
        async with AsyncClient(service.address) as client:
            saving = asyncio.create_task(client.save_weights(trained.id, output))
            assert await asyncio.to_thread(begun.wait, SECONDS)
            assert len(list(output.parent.iterdir())) == 2
            saving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await saving

    monkeypatch.setattr(run_weights, "download", download)
    asyncio.run(cancel())
    go_on.set()
    assert [path.read_bytes() for path in output.parent.iterdir()] == [b"before"]


FAULTS = {"damaged": "damaged", "no room": "No space left", "folder": "No such file"}


def no_room(_descriptor: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def response(**kind: Any) -> service_pb2.DownloadWeightsResponse:
    return service_pb2.DownloadWeightsResponse(**kind)


@pytest.mark.parametrize("fault", ["cut", "changed", "no checksum", "no file"])
def test_a_download_is_damaged_unless_all_of_it_came_as_it_was_sent(fault: str) -> None:
    data = b"weights"
    responses = [
        response(file=service_pb2.WeightsFile(size=7)),
        response(data={"cut": data[:-1], "changed": b"weighty"}.get(fault, data)),
        response(sha256=hashlib.sha256(data).hexdigest()),
    ]
    download = WeightsDownload(io.BytesIO().write)
    for each in responses[fault == "no file" : 2 if fault == "no checksum" else 3]:
        download.take(each)
    with pytest.raises(DamagedDownloadError, match="is damaged"):
        download.whole()


def test_an_undamaged_download_is_accepted() -> None:
    content = io.BytesIO()
    download = WeightsDownload(content.write)
    download.take(response(file=service_pb2.WeightsFile(size=2)))
    download.take(response(data=b"a"))
    download.take(response(data=b"b"))
    download.take(response(sha256=hashlib.sha256(b"ab").hexdigest()))
    assert download.whole().size == 2
    assert content.getvalue() == b"ab"


# --- predictions --------------------------------------------------------------------------------


def test_scores_are_those_of_the_network_computed_by_hand(
    service: RunningService, trained: Trained, rows: np.ndarray[Any, Any]
) -> None:
    trained.finish()
    found = service.client.predict(trained.id, rows)
    wanted = trained.scores(rows)
    assert found.scores.shape == (1_100, 10)
    assert np.allclose(found.scores, wanted, rtol=1e-5, atol=1e-5)
    assert found.classes is not None
    assert np.array_equal(found.classes, wanted.argmax(axis=1))
    assert (found.step, found.snapshot) == (46, False)


def test_predictions_by_a_snapshot_are_by_its_weights(
    service: RunningService, trained: Trained, rows: np.ndarray[Any, Any]
) -> None:
    trained.snapshot(10, 1.0)
    trained.snapshot(20, 2.0)
    newest = service.client.predict(trained.id, rows[:9].astype(np.float64))
    older = service.client.predict(trained.id, rows[:9], step=10)
    assert (newest.step, newest.snapshot, older.step) == (20, True, 10)
    assert np.allclose(newest.scores, trained.scores(rows[:9], 2.0), rtol=1e-5, atol=1e-5)
    assert np.allclose(older.scores, trained.scores(rows[:9]), rtol=1e-5, atol=1e-5)


def tensor(shape: tuple[int, ...], values: bytes | None = None) -> service_pb2.Tensor:
    content = bytes(4 * math.prod(shape)) if values is None else values
    return service_pb2.Tensor(shape=shape, values=content)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (tensor((3, 9)), r"rows of shape \(9,\) do not fit the network, which takes \(8, 8, 1\)"),
        (tensor((64,)), "rows must have a shape of 2 to 8 dimensions"),
        (tensor((0, 64)), "none of them 0"),
        (tensor((2, 64), bytes(4)), r"of shape \(2, 64\) take 512 bytes as float32, got 4"),
        (tensor((2**63, 2**63), b""), "must be at most 65536"),
        (tensor((70_000, 1)), "must be at most 65536"),
        (tensor((2, 64), bytes(256) + np.full(64, np.nan, "<f4").tobytes()), "row 1 is not"),
    ],
    ids=["other", "one row", "none", "torn", "huge", "many", "NaN"],
)
def test_rows_that_do_not_fit_are_refused_with_what_would(
    service: RunningService, trained: Trained, given: service_pb2.Tensor, problem: str
) -> None:
    trained.finish()
    request = service_pb2.PredictRequest(id=trained.id, rows=given)
    with pytest.raises(ClientError, match=problem) as caught:
        service.client._call(service.client._stub.Predict, request)
    assert caught.type is InvalidRequestError


def test_too_many_predictions_at_once_are_turned_away(
    service: RunningService, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained.finish()
    monkeypatch.setattr(predictor, "MAX_WAITING", 0)
    request = service_pb2.PredictRequest(id=trained.id, rows=tensor((1, 64)))
    with pytest.raises(grpc.RpcError) as caught:
        service.client._stub.Predict(request, timeout=30)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("name", LOSSES)
def test_the_classes_of_a_loss_are_the_answers_that_its_accuracy_counts(name: str) -> None:
    loss = LOSSES[name]()
    width = 1 if "logistic" in name else 4
    s = np.random.default_rng(1).normal(size=(50, width)).astype(np.float32)
    classes = loss.classes(s)
    if loss.metric.name != "accuracy":
        assert classes is None
        return
    assert classes is not None
    assert loss.metric.value(loss.measure(s, classes)) == 1.0
    if width == 1:
        assert loss.classes(np.ones((3, 2), np.float32)) is None


# --- files of rows ------------------------------------------------------------------------------


def test_rows_are_read_from_npy_and_npz(tmp_path: Path, rows: np.ndarray[Any, Any]) -> None:
    np.save(tmp_path / "a.npy", rows)
    np.savez_compressed(tmp_path / "a.npz", x=rows, y=np.arange(3))
    np.savez(tmp_path / "one.npz", x=rows[:2])
    assert np.array_equal(read_input(tmp_path / "a.npy", None), rows)
    assert np.array_equal(read_input(tmp_path / "a.npz", "x"), rows)
    assert np.array_equal(read_input(tmp_path / "one.npz", None), rows[:2])


def damaged_files(folder: Path) -> dict[str, tuple[Path, str | None, str]]:
    """Path, name of the array, and what is said."""
    np.save(folder / "bytes.npy", np.zeros((2, 3), np.uint8))
    np.save(folder / "objects.npy", np.array([[{}]]), allow_pickle=True)
    content = io.BytesIO()
    np.save(content, np.zeros((2, 3), np.float32))
    (folder / "torn.npy").write_bytes(content.getvalue()[:-1])
    with (folder / "huge.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (10**9, 10**6)}
        np.lib.format.write_array_header_1_0(file, header)
    np.savez(folder / "two.npz", x=np.zeros((2, 3)), y=np.zeros(2))
    with zipfile.ZipFile(folder / "other.npz", "w") as archive:
        archive.writestr("x", "text")
    (folder / "text.npy").write_text("1,2,3")
    return {
        "bytes": (folder / "bytes.npy", None, "divided by 255"),
        "objects": (folder / "objects.npy", None, "holds Python objects"),
        "torn": (folder / "torn.npy", None, "but has"),
        "huge": (folder / "huge.npy", None, r"declares shape \(1000000000, 1000000\)"),
        "unnamed": (folder / "two.npz", None, "holds the arrays 'x', 'y'; name one"),
        "misnamed": (folder / "two.npz", "z", "holds the arrays 'x', 'y'; name one"),
        "no array": (folder / "other.npz", None, "holds the arrays \\(none\\)"),
        "no archive": (folder / "bytes.npy", "x", "is no .npz file"),
        "text": (folder / "text.npy", None, "does not begin with a header"),
        "missing": (folder / "none.npy", None, "cannot be read"),
        "folder": (folder, None, "is not a regular file|is a directory|no regular"),
    }


@pytest.mark.parametrize(
    "kind",
    ["bytes", "objects", "torn", "huge", "unnamed", "misnamed", "no array", "no archive", "text",
     "missing", "folder"],
)  # fmt: skip
def test_a_file_without_rows_is_one_sentence(tmp_path: Path, kind: str) -> None:
    path, name, said = damaged_files(tmp_path)[kind]
    with pytest.raises(UsageError, match=said) as caught:
        read_input(path, name)
    assert str(caught.value).startswith("--input: ")


def test_scores_that_are_not_finite_are_null_in_json() -> None:
    scores = np.array([[1.5, np.inf], [np.nan, -2.0]], np.float32)
    found = prediction_document(Prediction(scores, None, 3, True))
    assert json.dumps(found, allow_nan=False)
    assert found["scores"] == [[1.5, None], [None, -2.0]]
