"""A cluster as the service sees it, without a Ray: room, code, weights, silence, settings."""

from __future__ import annotations

import asyncio
import hashlib
import io
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.record.receipt import code_version
from sumgrad.trainer.runner.run_folder import RunFolder
from sumgrad.trainer.runner.upstream.local import LocalUpstream, locked_folder
from sumgrad.trainer.runner.upstream.protocol import WeightsNotTakenError
from sumgrad.trainer.runner.upstream.service import ServiceUpstream
from sumgrad.trainer.service.api.run_errors import NotTheRunnerError
from sumgrad.trainer.service.cluster import attempt_policy, ray_api
from sumgrad.trainer.service.cluster.code_package import code_package
from sumgrad.trainer.service.cluster.launcher import JobState
from sumgrad.trainer.service.cluster.ray_api import RayApi, RayError, RayUnreachableError
from sumgrad.trainer.service.cluster.ray_cluster import OLDEST_RAY, RayCluster
from sumgrad.trainer.service.outputs.weights_inbox import largest_file, receive
from sumgrad.trainer.service.queue.scheduling import RAY_UNITS, worker_cpus, workers_limit
from sumgrad.trainer.spec.fit import MAX_PARAMETERS
from sumgrad.trainer.spec.parse import parse
from sumgrad.trainer.v1 import run_pb2, runner_pb2, runner_pb2_grpc

from support.services import PlayedRunner, RunningService, StartService
from support.waiting import SECONDS, eventually

NODES = st.lists(st.integers(0, 16), min_size=1, max_size=8).filter(any)


# --- room -----------------------------------------------------------------------------------------


@pytest.mark.slow
@given(nodes=NODES)
def test_the_workers_of_all_runs_have_room_on_the_nodes_all_at_once(nodes: list[int]) -> None:
    cores = sum(nodes)
    units = round(worker_cpus(cores) * RAY_UNITS)
    assert units > 0
    assert sum(cpus * RAY_UNITS // units for cpus in nodes) >= cores * workers_limit(cores)


# --- code -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_code_package_is_all_that_a_runner_needs_of_us(tmp_path: Path) -> None:
    name, content = code_package()
    assert code_package.__wrapped__() == (name, content)
    zipfile.ZipFile(io.BytesIO(content)).extractall(tmp_path)
    asks = (
        "from sumgrad.trainer.runner import runner; from sumgrad.trainer.record import receipt; "
        "print(runner.__file__, receipt.code_version())"
    )
    found = subprocess.run(
        [sys.executable, "-c", asks],
        cwd=tmp_path,
        env={},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert found == [str(tmp_path / "sumgrad/trainer/runner/runner.py"), code_version()]


# --- weights --------------------------------------------------------------------------------------

WEIGHTS = bytes(range(256)) * 8192


def announced(runner: PlayedRunner, content: bytes) -> runner_pb2.AnnouncedWeights:
    sha256 = hashlib.sha256(content).digest()
    return runner_pb2.AnnouncedWeights(**runner._who, bytes=len(content), sha256=sha256)


def put(
    service: RunningService, runner: PlayedRunner, content: bytes, told: bytes = WEIGHTS
) -> str:
    stub = runner_pb2_grpc.RunnerServiceStub(service.channel)
    file = announced(runner, told)
    parts = [runner_pb2.PutWeightsRequest(file=file)]
    for begin in range(0, len(content), 2**20):
        parts.append(runner_pb2.PutWeightsRequest(chunk=content[begin : begin + 2**20]))
    return str(stub.PutWeights(iter(parts), timeout=SECONDS).path)


def test_weights_that_a_runner_sends_lie_in_the_runs_folder(
    service: RunningService, document: dict[str, Any]
) -> None:
    service.client.submit(document)
    runner = service.next_runner()
    folder = Path(runner.take().directory)
    assert put(service, runner, WEIGHTS) == str(folder / "weights.safetensors")
    assert (folder / "weights.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    "content",
    [b"", WEIGHTS[:-1], WEIGHTS + b"!", WEIGHTS[:-1] + b"!"],
    ids=["none", "short", "long", "damaged"],
)
def test_weights_that_are_not_what_was_announced_are_refused_and_leave_nothing(
    service: RunningService, document: dict[str, Any], content: bytes
) -> None:
    service.client.submit(document)
    runner = service.next_runner()
    folder = Path(runner.take().directory)
    with pytest.raises(grpc.RpcError) as refusal:
        put(service, runner, content)
    assert refusal.value.code() == grpc.StatusCode.DATA_LOSS
    assert [path.name for path in folder.iterdir()] == ["log.jsonl"]


def test_weights_that_are_larger_than_the_network_are_refused_before_they_come(
    service: RunningService, document: dict[str, Any], tmp_path: Path
) -> None:
    service.client.submit(document)
    runner = service.next_runner()
    folder = Path(runner.take().directory)
    most = largest_file(parse(document))
    parameters = 64 * 16 + 16 + 16 * 10 + 10
    assert 4 * parameters < most < 4 * parameters + 5 * 2**20
    file = tmp_path / "weights"
    file.write_bytes(bytes(most + 1))
    upstream = ServiceUpstream(runner.launch.environment())
    try:
        # Another try would change nothing, so the runner gives up at once.
        with pytest.raises(WeightsNotTakenError, match=f"at most {most:,} for this network"):
            upstream.put_weights(file)
    finally:
        upstream.close()
    assert "weights.safetensors" not in {path.name for path in folder.iterdir()}


def test_a_finished_run_is_not_lost_because_its_data_has_gone(document: dict[str, Any]) -> None:
    document["data"] = {"type": "npz", "path": "/gone.npz"}
    assert largest_file(parse(document)) > 4 * MAX_PARAMETERS


def test_weights_of_an_attempt_that_was_given_up_meanwhile_are_dropped(tmp_path: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield WEIGHTS

    async def superseded() -> None:
        raise NotTheRunnerError("r-1", 1)

    file = runner_pb2.AnnouncedWeights(bytes=len(WEIGHTS), sha256=hashlib.sha256(WEIGHTS).digest())
    with pytest.raises(NotTheRunnerError):
        asyncio.run(receive(tmp_path / "weights", file, chunks(), len(WEIGHTS), superseded))
    assert list(tmp_path.iterdir()) == []


def test_weights_of_a_stranger_are_refused(
    service: RunningService, document: dict[str, Any]
) -> None:
    service.client.submit(document)
    runner = service.next_runner()
    runner.take()
    runner._who["token"] = "guessed"
    with pytest.raises(grpc.RpcError) as refusal:
        put(service, runner, WEIGHTS)
    assert refusal.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_a_folder_of_the_same_path_is_not_taken_for_the_services(tmp_path: Path) -> None:
    folder = tmp_path / "r-1"
    folder.mkdir()
    inode = folder.stat().st_ino
    ours = runner_pb2.TakeRunResponse(directory=str(folder), directory_inode=inode)
    assert RunFolder.of(ours).shared
    theirs = runner_pb2.TakeRunResponse(directory=str(folder), directory_inode=inode + 1)
    assert not RunFolder.of(theirs).shared
    assert RunFolder.of(theirs).path.name == "r-1"
    assert RunFolder.of(theirs).path != folder


# --- silence --------------------------------------------------------------------------------------


def test_a_run_waits_for_a_silent_cluster_and_starts_when_it_answers(
    service: RunningService, document: dict[str, Any]
) -> None:
    silence = RayUnreachableError("the Ray cluster does not answer")
    service.launcher.silence = silence
    eventually(lambda: service.parts.attempts._policy.unavailable == str(silence))
    run = service.client.submit(document)
    service.loop.run(service.parts.attempts.look_once())
    assert service.launcher.launched.empty()
    eventually(lambda: service.client.get(run.id).queue.reason == str(silence))
    service.launcher.silence = None
    assert service.launcher.next_launch().run_id == run.id


def test_a_cluster_that_is_silent_is_not_asked_again_for_each_run(
    service: RunningService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    service.client.submit(document)
    service.launcher.next_launch()
    asked: list[str] = []

    async def state(job: str) -> JobState:
        asked.append(job)
        return JobState.UNKNOWN

    monkeypatch.setattr(service.launcher, "state", state)
    monkeypatch.setattr(attempt_policy, "SILENCE_SECONDS", -1.0)
    service.loop.run(service.parts.attempts.look_once())
    assert asked  # one that answers is asked for the job
    service.launcher.silence = RayUnreachableError("the Ray cluster does not answer")
    eventually(lambda: service.parts.attempts._policy.unavailable)
    asked.clear()
    service.loop.run(service.parts.attempts.look_once())
    assert asked == []


def test_a_launch_that_nobody_answered_is_told_once_and_asked_after(
    service: RunningService, document: dict[str, Any]
) -> None:
    service.launcher.errors = [RayUnreachableError("the Ray cluster does not answer")]
    run = service.client.submit(document)
    eventually(lambda: service.client.get(run.id).warnings)
    found = service.client.get(run.id)
    assert found.state == run_pb2.RUN_STATE_LAUNCHING
    assert list(found.warnings) == ["the Ray cluster does not answer; the run waits for it"]


def test_a_cluster_without_cpus_for_now_refuses_no_run(
    start_service: StartService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start_service()

    async def none() -> tuple[float, ...]:
        return (0.0,)

    monkeypatch.setattr(service.launcher, "cpus", none)
    service.loop.run(service.parts.attempts.look_once())
    assert service.client.submit(document, workers=4).info.state == run_pb2.RUN_STATE_QUEUED
    assert service.launcher.launched.empty()


def test_a_cluster_that_is_not_there_is_unreachable_in_one_sentence() -> None:
    cluster = RayCluster("http://127.0.0.1:1", {"RAY_AUTH_TOKEN": "secret"})
    with pytest.raises(
        RayUnreachableError, match=r"^the Ray cluster at http://127.0.0.1:1 does not answer: \S.*$"
    ):
        cluster.cpus()


@contextmanager
def answering(status: int, content: bytes) -> Iterator[str]:
    """The URL of a server that has one answer for everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "content", "message"),
    [
        (200, b"<html>", "what answers at {} takes no Ray jobs"),
        (404, b"", "what answers at {} takes no Ray jobs"),
        (401, b"", "the Ray cluster at {} needs a valid token; put it into "),
        (500, b"Traceback\nKeyError: 1", "the Ray cluster at {} answered 500: KeyError: 1"),
        (
            200,
            b'{"ray_version": "2.51.9"}',
            "the Ray cluster at {} runs Ray 2.51.9; sumgrad needs 2.54 or a later one there",
        ),
    ],
)
def test_what_takes_no_jobs_of_ours_is_told_in_one_sentence(
    status: int, content: bytes, message: str
) -> None:
    with answering(status, content) as url, pytest.raises(RayError) as refusal:
        RayCluster(url, {"RAY_AUTH_TOKEN": "secret"}).cpus()
    assert str(refusal.value).startswith(message.format(url))
    assert "\n" not in str(refusal.value)


def test_something_that_speaks_no_http_is_no_cluster() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"\x00\x00\x12\x04 not HTTP\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(RayUnreachableError, match=r"does not answer"):
            RayCluster(url, {}).cpus()
        thread.join(SECONDS)


@pytest.mark.parametrize(
    "ask",
    [
        RayApi.version,
        RayApi.cpus,
        lambda api: api.status("job"),
        lambda api: api.logs("job"),
        lambda api: api.stop("job"),
        lambda api: api.submit("job", "true", {}, {}),
        lambda api: api.put_package("code.zip", b"code"),
    ],
    ids=["version", "cpus", "status", "logs", "stop", "submit", "put_package"],
)
def test_a_dashboard_that_hangs_is_waited_for_within_a_bound(
    ask: Callable[[RayApi], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that was stopped: the kernel takes the connection, and nobody answers."""
    for bound in ("CALL_SECONDS", "SUBMIT_SECONDS"):
        monkeypatch.setattr(ray_api, bound, 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        api = RayApi(f"http://127.0.0.1:{server.getsockname()[1]}", {})
        with pytest.raises(RayUnreachableError, match=r"does not answer: timed out$"):
            ask(api)


def test_the_oldest_ray_is_that_of_the_distribution() -> None:
    [needed] = [one for one in requires("sumgrad") or () if one.startswith("ray[")]
    assert needed.partition(";")[0] == f"ray[default]>={'.'.join(map(str, OLDEST_RAY))}"


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        *("auto", "local", "ray://head:10001", "head:6379", "10.0.0.1:6379"),
        *("http://", "http://h:x", "http://me:secret@head", "http://head?token=secret"),
    ],
)
def test_what_is_no_dashboards_url_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(UsageError, match="is not a dashboard's URL") as refusal:
        RayCluster(address)
    assert "secret" not in str(refusal.value)


def test_a_service_on_loopback_has_to_say_how_another_machine_reaches_it() -> None:
    # Set aside for documentation, so no machine has it.
    cluster = RayCluster("http://203.0.113.7:8265")
    with pytest.raises(UsageError, match="--advertise"):
        cluster.check_reaches("127.0.0.1:7433")
    with pytest.raises(UsageError, match="--advertise"):
        cluster.check_reaches("0.0.0.0:7433")
    cluster.check_reaches("192.0.2.1:7433")
    RayCluster("http://localhost:8265").check_reaches("127.0.0.1:7433")


def test_the_token_comes_from_the_environment_or_a_file_that_may_be_replaced(
    tmp_path: Path,
) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    cluster = RayCluster("http://localhost:8265", {"RAY_AUTH_TOKEN_PATH": str(file)})
    assert cluster.headers == {"Authorization": "Bearer first"}
    file.write_text("second")
    assert cluster.headers == {"Authorization": "Bearer second"}
    file.unlink()
    with pytest.raises(UsageError, match="cannot be read"):
        _ = cluster.headers
    named = {"RAY_AUTH_TOKEN": "third", "RAY_AUTH_TOKEN_PATH": str(file)}
    assert RayCluster("http://localhost", named).headers == {"Authorization": "Bearer third"}
    assert RayCluster("http://localhost", {"RAY_AUTH_MODE": "disabled", **named}).headers == {}


# --- by hand --------------------------------------------------------------------------------------


def test_a_run_by_hand_that_is_told_to_stop_pauses(
    document: dict[str, Any], tmp_path: Path
) -> None:
    upstream = LocalUpstream(parse(document), tmp_path)
    assert RunFolder.of(upstream.take()).shared
    assert not upstream.requests().pause
    upstream.pause()
    assert upstream.requests().pause
    upstream.add(runner_pb2.RunReport(paused=runner_pb2.Paused(step=3)))
    upstream.close()
    assert upstream.run.state == run_pb2.RUN_STATE_PAUSED
    states = [response.event.state_change.state for response in upstream.watch()]
    assert states == [run_pb2.RUN_STATE_RUNNING, run_pb2.RUN_STATE_PAUSED]


def test_one_run_by_hand_at_a_time_works_in_a_folder(tmp_path: Path) -> None:
    with (
        locked_folder(tmp_path),
        pytest.raises(UsageError, match="another run-job"),
        locked_folder(tmp_path),
    ):
        pass
    with locked_folder(tmp_path):
        pass
