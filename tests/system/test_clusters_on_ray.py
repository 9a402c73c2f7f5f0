"""Runs on a Ray cluster of several nodes: a real one, on this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from sumgrad.trainer.cli.exit_codes import ExitCode
from sumgrad.trainer.client import Client
from sumgrad.trainer.record import states
from sumgrad.trainer.record.code_digest import code_digest
from sumgrad.trainer.record.receipt import code_version
from sumgrad.trainer.service.cluster.launcher import ENDED_STATUSES
from sumgrad.trainer.v1 import run_pb2

from support.commands import running
from support.ray_nodes import RayNodes, ray_nodes, why_no_network
from support.repository import ROOT
from support.waiting import eventually

SECONDS = 60.0
"""Bound of every wait for a run; a node that starts others waits for this machine's two cores."""

EPOCHS = 100
STEPS = EPOCHS * 23

SPEC: dict[str, Any] = {
    "name": "clusters",
    "seed": 7,
    "data": {"type": "digits"},
    "model": {
        "layers": [{"type": "affine_relu", "units": 64}, {"type": "affine", "units": 10}],
        "loss": "cross_entropy",
    },
    "train": {
        "epochs": EPOCHS,
        "batch_size": 64,
        "shards": 4,
        "update": {"rule": "momentum", "learning_rate": 0.1, "momentum": 0.9},
    },
    # Hosts that have networks of their own use frames by themselves.
    "workers": {"count": 2, "vectors": "frames" if why_no_network() else "auto"},
    "snapshots": {"every_steps": 100},
}

BY_HAND = f"""
name = "by hand"
seed = 7
data.type = "digits"

[model]
layers = [{{ type = "affine_relu", units = 64 }}, {{ type = "affine", units = 10 }}]
loss = "cross_entropy"

[train]
epochs = {EPOCHS}
batch_size = 64
shards = 4
update = {{ rule = "momentum", learning_rate = 0.1, momentum = 0.9 }}

[snapshots]
every_steps = 100

[[faults]]
target = "runner"
step = 1000
point = "progress"
action = "kill"
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """With a short name: a socket's path has 107 bytes at most."""
    folder = Path(tempfile.mkdtemp(prefix="sg", dir="/tmp"))
    (folder / "state").mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def image(folder: Path) -> Path:
    """Our packages as the cluster's Python has them: of another version than ours."""
    place = folder / "image"
    shutil.copytree(ROOT / "src", place)
    with (place / "sumgrad" / "workers" / "worker.py").open("a") as source:
        source.write("\nOF_THE_IMAGE = True\n")
    return place


@pytest.fixture(scope="module")
def cluster(folder: Path, image: Path) -> Iterator[RayNodes]:
    """Nodes that do not see the service's folder."""
    with ray_nodes(folder, folder / "state", image) as nodes:
        nodes.start(head=0, a=2, b=1)
        yield nodes


@pytest.fixture(scope="module")
def environment(cluster: RayNodes) -> Iterator[None]:
    """The cluster's token in a file, as `sumgrad serve` and `ray job` find it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.environment.items():
            patch.setenv(name, value)
        yield


@contextmanager
def serving(cluster: RayNodes, folder: Path, *options: str) -> Iterator[Client]:
    """A client of a service on the cluster."""
    free = ("--address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0")
    with running(
        "serve", *free, "--ray-address", cluster.dashboard, *options, temporary=folder
    ) as service:
        address = service.out.wait_for("gRPC").split()[1]
        service.out.wait_for("ready")
        with Client(address) as client:
            yield client
        service.signal(signal.SIGTERM)
        assert service.end() == ExitCode.OK
        shown = "\n".join(service.out.seen + service.err.seen)
        assert cluster.token not in shown


@pytest.fixture(scope="module")
def client(cluster: RayNodes, folder: Path, environment: None) -> Iterator[Client]:
    with serving(cluster, folder) as client:
        yield client


@pytest.fixture(scope="module")
def undisturbed(client: Client) -> run_pb2.Run:
    """The run by one worker that nothing happens to."""
    return ended(client, client.submit(SPEC, workers=1).id)


def ended(client: Client, run_id: str) -> run_pb2.Run:
    run = eventually(lambda: rested(client.get(run_id)), SECONDS)
    assert run.state == run_pb2.RUN_STATE_SUCCEEDED, run.message
    return run


def rested(run: run_pb2.Run) -> run_pb2.Run | None:
    return run if states.ended(run) else None


def events(client: Client, run_id: str, kind: str) -> list[Any]:
    """What happened of this kind."""
    return [getattr(e, kind) for e in client.events(run_id) if e.HasField(kind)]  # type: ignore[arg-type]


def have_joined(client: Client, run_id: str) -> set[str]:
    return {member.worker for member in events(client, run_id, "membership") if member.joined}


def nodes_of(cluster: RayNodes) -> set[str]:
    """The nodes on which a worker is at work."""
    return {node for node, title in cluster.processes() if title.startswith("ray::_Worker")}


def the_same(run: run_pb2.Run, undisturbed: run_pb2.Run) -> None:
    assert run.result.weights_digest == undisturbed.result.weights_digest
    assert (run.result.steps, run.result.e_out) == (STEPS, undisturbed.result.e_out)
    assert run.result.bitwise


def test_the_code_travels_with_the_job_and_the_weights_come_back(
    cluster: RayNodes, undisturbed: run_pb2.Run, folder: Path
) -> None:
    assert undisturbed.result.receipt.code_version == code_version()
    weights = folder / "state" / "runs" / undisturbed.id / "weights.safetensors"
    assert undisturbed.result.weights_path == str(weights)
    with safe_open(weights, "numpy") as file:
        described = json.loads(file.metadata()["sumgrad"])
    assert described["weights_digest"] == undisturbed.result.weights_digest
    # The runner clears its folder when the service knows of the end, and is not over before.
    job = f"sumgrad-{undisturbed.id}-1"
    assert eventually(lambda: over(cluster, job), SECONDS) == "SUCCEEDED"
    left = [path for path in (folder / "nodes").rglob("*") if path.is_file()]
    assert left == []


def over(cluster: RayNodes, job: str) -> str | None:
    status = cluster.api.status(job)
    return status if status in ENDED_STATUSES else None


def test_a_node_that_is_killed_costs_no_bit(
    cluster: RayNodes, client: Client, undisturbed: run_pb2.Run
) -> None:
    run_id = client.submit(SPEC).id
    eventually(lambda: have_joined(client, run_id) == {"worker-0", "worker-1"}, SECONDS)
    assert nodes_of(cluster) == {"a", "b"}
    cluster.kill("b")
    run = ended(client, run_id)
    the_same(run, undisturbed)
    assert run.attempt == 1
    left = [member for member in events(client, run_id, "membership") if not member.joined]
    assert len(left) == 1
    assert 0 < left[0].step < STEPS


def test_code_that_is_in_the_image_is_not_sent(
    cluster: RayNodes, undisturbed: run_pb2.Run, folder: Path, image: Path, environment: None
) -> None:
    with serving(cluster, folder, "--code", "image") as client:
        run = ended(client, client.submit(SPEC).id)
    the_same(run, undisturbed)
    of_the_image = code_digest(image / "sumgrad")[:12]
    assert run.result.receipt.code_version.endswith(f"+{of_the_image}")
    assert run.result.receipt.code_version != undisturbed.result.receipt.code_version


def test_a_run_is_trained_by_hand_in_a_job_of_its_own_and_goes_on_where_it_was_killed(
    cluster: RayNodes, undisturbed: run_pb2.Run, folder: Path, environment: None
) -> None:
    specification = folder / "by-hand.toml"
    specification.write_text(BY_HAND)
    output = folder / "by-hand"
    arguments = (str(specification), "--workers", "2", "--output", str(output), "--json")
    first = submit_by_hand(cluster, *arguments)
    assert first.returncode != 0
    second = submit_by_hand(cluster, *arguments)
    assert second.returncode == 0, second.stdout
    assert "resumed from the snapshot of step" in second.stdout
    found = json.loads(re.search(r"^\{$.*^\}$", second.stdout, re.M | re.S)[0])  # type: ignore[index]
    assert found["weights_digest"] == undisturbed.result.weights_digest
    assert Path(found["weights_path"]) == output / "weights.safetensors"
    assert Path(found["weights_path"]).is_file()


def submit_by_hand(cluster: RayNodes, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`ray job submit`, where sumgrad is in the cluster's image."""
    ray = Path(sys.executable).with_name("ray")
    return subprocess.run(
        [
            *(ray, "job", "submit", "--address", cluster.dashboard),
            *("--", "sumgrad", "run-job", *arguments),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        env=os.environ | {"TMPDIR": str(cluster.folder)},
    )


def test_a_run_goes_on_at_a_new_cluster_after_the_head_was_killed(
    cluster: RayNodes, client: Client, undisturbed: run_pb2.Run
) -> None:
    run_id = client.submit(SPEC).id
    eventually(lambda: client.get(run_id).snapshot_step, SECONDS)
    cluster.kill()
    eventually(lambda: silences(client.get(run_id)), SECONDS)
    cluster.start(head=2)
    run = ended(client, run_id)
    the_same(run, undisturbed)
    assert run.attempt == 2
    assert [r.step >= 100 for r in events(client, run_id, "resumed")] == [True]
    [told] = silences(run)
    assert told.startswith(f"the Ray cluster at {cluster.dashboard} does not answer")


def silences(run: run_pb2.Run) -> list[str]:
    """What was said in a run of a cluster that did not answer."""
    return [warning for warning in run.warnings if "does not answer" in warning]
