"""A cluster as the service sees it, without a Ray: room, code, weights, silence, settings."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import grpc
import pytest
from conftest import SECONDS, PlayedRunner, RunningService, StartService, eventually
from hypothesis import given
from hypothesis import strategies as st

from trainer.receipt import code_version
from trainer.runner.local_link import LocalLink, alone_in
from trainer.runner.workplace import workplace
from trainer.service.code_package import code_package
from trainer.service.queue import RAY_UNITS, worker_cpus, workers_limit
from trainer.service.ray_api import RayApi, RayUnreachableError
from trainer.service.ray_cluster import RayCluster
from trainer.service.settings import SettingsError
from trainer.spec.parse import parse
from trainer.v1 import run_pb2, runner_pb2, runner_pb2_grpc

NODES = st.lists(st.integers(0, 16), min_size=1, max_size=8).filter(any)


# --- room -----------------------------------------------------------------------------------------


@given(nodes=NODES)
def test_the_workers_of_all_runs_have_room_on_the_nodes_all_at_once(nodes: list[int]) -> None:
    cores = sum(nodes)
    units = round(worker_cpus(cores) * RAY_UNITS)
    assert units > 0
    assert sum(cpus * RAY_UNITS // units for cpus in nodes) >= cores * workers_limit(cores)


# --- code -----------------------------------------------------------------------------------------


def test_the_code_package_is_all_that_a_runner_needs_of_us(tmp_path: Path) -> None:
    name, content = code_package()
    assert code_package.__wrapped__() == (name, content)
    zipfile.ZipFile(io.BytesIO(content)).extractall(tmp_path)
    asks = (
        "import trainer.runner.runner as runner, trainer.receipt as receipt; "
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
    assert found == [str(tmp_path / "trainer/runner/runner.py"), code_version()]


# --- weights --------------------------------------------------------------------------------------

WEIGHTS = bytes(range(256)) * 8192


def put(
    service: RunningService, runner: PlayedRunner, content: bytes, announced: bytes = WEIGHTS
) -> str:
    stub = runner_pb2_grpc.RunnerServiceStub(service.channel)
    file = runner_pb2.AnnouncedWeights(
        **runner._who, bytes=len(announced), sha256=hashlib.sha256(announced).digest()
    )
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
    assert workplace(ours).shared
    theirs = runner_pb2.TakeRunResponse(directory=str(folder), directory_inode=inode + 1)
    assert not workplace(theirs).shared
    assert workplace(theirs).folder.name == "r-1"
    assert workplace(theirs).folder != folder


# --- silence --------------------------------------------------------------------------------------


def test_a_run_waits_for_a_silent_cluster_and_starts_when_it_answers(
    service: RunningService, document: dict[str, Any]
) -> None:
    silence = RayUnreachableError("the Ray cluster does not answer")
    service.launcher.silence = silence
    eventually(lambda: service.manager._silent_cluster == str(silence))
    run = service.client.submit(document)
    service.loop.run(service.manager._look_once())
    assert service.launcher.launched.empty()
    service.launcher.silence = None
    assert service.launcher.next_launch().run_id == run.id


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
    service.loop.run(service.manager._look_once())
    assert service.client.submit(document, workers=4).info.state == run_pb2.RUN_STATE_QUEUED
    assert service.launcher.launched.empty()


def test_a_cluster_that_is_not_there_is_unreachable_in_one_sentence() -> None:
    api = RayApi("http://127.0.0.1:1", {"Authorization": "Bearer secret"})
    with pytest.raises(
        RayUnreachableError, match=r"^the Ray cluster at http://127.0.0.1:1 does not"
    ):
        api.cpus()


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    ["auto", "ray://head:10001", "head:6379", "http://", "http://me:secret@head", "http://h:x"],
)
def test_what_is_no_dashboards_url_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(SettingsError, match="is not a dashboard's URL") as refusal:
        RayCluster(address)
    assert "secret" not in str(refusal.value)


def test_a_service_on_loopback_has_to_say_how_another_machine_reaches_it() -> None:
    # Set aside for documentation, so no machine has it.
    cluster = RayCluster("http://203.0.113.7:8265")
    with pytest.raises(SettingsError, match="--advertise"):
        cluster.check_reaches("127.0.0.1:7433")
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
    with pytest.raises(SettingsError, match="cannot be read"):
        _ = cluster.headers
    named = {"RAY_AUTH_TOKEN": "third", "RAY_AUTH_TOKEN_PATH": str(file)}
    assert RayCluster("http://localhost", named).headers == {"Authorization": "Bearer third"}
    assert RayCluster("http://localhost", {"RAY_AUTH_MODE": "disabled", **named}).headers == {}


# --- by hand --------------------------------------------------------------------------------------


def test_a_run_by_hand_that_is_told_to_stop_pauses(
    document: dict[str, Any], tmp_path: Path
) -> None:
    link = LocalLink(parse(document), tmp_path)
    assert workplace(link.take()).shared
    assert not link.send().pause
    link.pause()
    assert link.send().pause
    link.add(runner_pb2.RunReport(paused=runner_pb2.Paused(step=3)))
    link.close()
    assert link.run.state == run_pb2.RUN_STATE_PAUSED
    states = [response.event.state_change.state for response in link.watch()]
    assert states == [run_pb2.RUN_STATE_RUNNING, run_pb2.RUN_STATE_PAUSED]


def test_one_run_by_hand_at_a_time_works_in_a_folder(tmp_path: Path) -> None:
    with (
        alone_in(tmp_path),
        pytest.raises(SettingsError, match="another run-job"),
        alone_in(tmp_path),
    ):
        pass
    with alone_in(tmp_path):
        pass
