"""Snapshots in an object store: a server of the S3 protocol on this machine."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import s3fs
import safetensors.numpy
from moto.server import ThreadedMotoServer
from threadpoolctl import threadpool_limits

from sumgrad.trainer.server.rounds.membership import RUNNER
from sumgrad.trainer.server.saving.snapshot_keeper import SnapshotPlan
from sumgrad.trainer.snapshots import object_folder
from sumgrad.trainer.snapshots.snapshot import Snapshot, SnapshotError
from sumgrad.trainer.snapshots.snapshot_store import SnapshotStore
from sumgrad.trainer.v1 import runner_pb2
from sumgrad.trainer.weights.checkpoint import read_checkpoint
from sumgrad.workers.channel import connect
from sumgrad.workers.drills.drill import Fault, FaultPlan
from sumgrad.workers.serving import work

from support.drilled_processes import PROCESSES, assert_ended_by, process
from support.interrupted import EVERY, PLANS, resumed_at, run_to_end, warnings
from support.server_process import serve_with
from support.snapshot_samples import LOOP, LOOP_SIZE, assert_same, damaged_copies, sample
from support.training import SECONDS, train

BUCKET = "snapshots"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server without any bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        yield f"http://{host}:{port}"
    server.stop()


class Bucket:
    """What lies in the store, seen and changed without the code under test."""

    def __init__(self) -> None:
        self.client: Any = boto3.client("s3")
        self.client.create_bucket(Bucket=BUCKET)

    def names(self) -> list[str]:
        found = self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return [each["Key"] for each in found]

    def get(self, key: str) -> bytes:
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=BUCKET, Key=key)

    def pair(self, step: int) -> list[str]:
        """The keys of the manifest and of the arrays of the only snapshot of a step."""
        found = sorted(key for key in self.names() if f"step-{step:012d}-" in key)
        assert [Path(key).suffix for key in found] == [".json", ".safetensors"]
        return found


@pytest.fixture
def bucket(server: str) -> Iterator[Bucket]:
    """Empty."""
    bucket = Bucket()
    yield bucket
    for key in bucket.names():
        bucket.delete(key)
    bucket.client.delete_bucket(Bucket=BUCKET)
    bucket.client.close()


def store_at(folder: str, keep: int = 2) -> SnapshotStore:
    return SnapshotStore(f"s3://{BUCKET}/{folder}", keep)


@pytest.mark.slow
def test_a_snapshot_comes_back_bit_for_bit(bucket: Bucket) -> None:
    store_at("runs/r-1").save(sample(3))
    found, problems = store_at("runs/r-1").latest()
    assert found is not None
    assert_same(found, sample(3))
    assert problems == []
    assert store_at("runs/r-2").latest() == (None, [])


@pytest.mark.slow
def test_the_newest_are_kept_and_other_objects_are_left_alone(bucket: Bucket) -> None:
    bucket.put("runs/r-1/notes.json", b"mine")
    bucket.put("runs/r-10/notes.json", b"mine")
    store = store_at("runs/r-1")
    for step in range(1, 5):
        store.save(sample(step))
    assert store.steps() == [3, 4]
    assert len(bucket.names()) == 6
    store.delete_all()
    assert bucket.names() == ["runs/r-1/notes.json", "runs/r-10/notes.json"]


@pytest.mark.slow
def test_what_another_process_changed_is_seen(bucket: Bucket) -> None:
    first, second = store_at("r"), store_at("r")
    first.save(sample(1))
    assert second.steps() == [1]
    first.save(sample(2))
    assert second.steps() == [1, 2]
    for key in bucket.pair(2):
        bucket.delete(key)
    found, problems = second.latest()
    assert found is not None
    assert (found.step, problems) == (1, [])


@pytest.fixture
def two(bucket: Bucket) -> SnapshotStore:
    """A store with a good snapshot of step 1 and one of step 2 that the test damages."""
    store = store_at("r")
    store.save(sample(1))
    store.save(sample(2))
    return store


def assert_first_is_used(store: SnapshotStore, names: str) -> None:
    """And one problem is reported, which names this."""
    found, problems = store.latest()
    assert found is not None
    assert_same(found, sample(1))
    (problem,) = problems
    assert names in problem


@pytest.mark.slow
def test_an_object_that_is_cut_off_anywhere_is_not_used(bucket: Bucket, two: SnapshotStore) -> None:
    for key in bucket.pair(2):
        content = bucket.get(key)
        lengths = [*range(0, len(content), 4096), len(content) - 1]
        assert len(lengths) > 3
        for length in lengths:
            bucket.put(key, content[:length])
            assert_first_is_used(two, f"s3://{BUCKET}/r/{Path(key).stem}")
        bucket.put(key, content)


@pytest.mark.slow
def test_single_bit_flips_are_found(bucket: Bucket, two: SnapshotStore) -> None:
    keys = bucket.pair(2)
    contents = [bucket.get(key) for key in keys]
    for which, content in damaged_copies(contents, 50, seed=12):
        bucket.put(keys[which], content)
        assert_first_is_used(two, Path(keys[which]).stem)
        bucket.put(keys[which], contents[which])


@pytest.mark.slow
def test_arrays_that_are_missing_are_reported(bucket: Bucket, two: SnapshotStore) -> None:
    bucket.delete(bucket.pair(2)[1])
    assert_first_is_used(two, "is missing")


def test_a_snapshot_without_its_manifest_is_none(bucket: Bucket, two: SnapshotStore) -> None:
    bucket.delete(bucket.pair(2)[0])
    found, problems = two.latest()
    assert found is not None
    assert (found.step, problems) == (1, [])


@contextmanager
def failing(at: int, error: Exception | None, for_ever: bool) -> Iterator[list[str]]:
    """Let the n-th request that changes the store fail; yields the requests that were made.

    Args:
        for_ever: every later one fails as well, as if the process were dead.
    """
    made: list[str] = []
    real = s3fs.S3FileSystem._call_s3

    async def call(files: s3fs.S3FileSystem, method: str, *args: Any, **kwargs: Any) -> Any:
        if method.startswith(("put", "delete", "create", "upload", "complete")):
            made.append(f"{method} {Path(kwargs['Key']).suffix}")
            if error and (len(made) == at or (for_ever and len(made) > at)):
                raise error
        return await real(files, method, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3fs.S3FileSystem, "_call_s3", call)
        yield made


REQUESTS = [
    "put_object .safetensors",
    "put_object .json",
    "delete_object .json",
    "delete_object .safetensors",
]
"""Of a save that deletes one older snapshot: the manifest comes last and goes first."""


def test_the_manifest_is_put_last_and_deleted_first(bucket: Bucket) -> None:
    store_at("r", 1).save(sample(1))
    with failing(0, None, for_ever=False) as made:
        store_at("r", 1).save(sample(2))
    assert made == REQUESTS


@pytest.mark.slow
@pytest.mark.parametrize("at", range(1, len(REQUESTS) + 1))
@pytest.mark.parametrize("keep", [1, 2])
def test_a_process_killed_before_any_request_leaves_the_newest_good_one(
    bucket: Bucket, keep: int, at: int
) -> None:
    for step in (1, 2):
        store_at("r", keep).save(sample(step))
    with failing(at, OSError("dead"), for_ever=True), pytest.raises(SnapshotError, match="dead"):
        store_at("r", keep).save(sample(3))
    found, problems = store_at("r", keep).latest()
    assert found is not None
    assert_same(found, sample(2 if at <= 2 else 3))
    assert problems == []
    store_at("r", keep).save(sample(4))
    found, problems = store_at("r", keep).latest()
    assert found is not None
    assert_same(found, sample(4))
    assert problems == []
    assert len(bucket.names()) == 2 * keep


@pytest.mark.slow
@pytest.mark.parametrize("at", range(1, len(REQUESTS) + 1))
@pytest.mark.parametrize("error", [OSError(28, "No room"), KeyError("No room")], ids=repr)
def test_a_request_that_fails_leaves_the_newest_good_one_and_nothing_partial(
    bucket: Bucket, error: Exception, at: int
) -> None:
    store = store_at("r")
    for step in (1, 2):
        store.save(sample(step))
    before = bucket.names()
    with (
        failing(at, error, for_ever=False),
        pytest.raises(SnapshotError, match=f"s3://{BUCKET}/r.*No room"),
    ):
        store.save(sample(3))
    if at <= 2:
        assert bucket.names() == before
    found, problems = store.latest()
    assert found is not None
    assert_same(found, sample(2 if at <= 2 else 3))
    assert problems == []
    store.save(sample(4))
    assert len(bucket.names()) == 4


@pytest.mark.slow
@pytest.mark.parametrize("lines", [1, 3])
def test_a_process_that_is_really_killed_leaves_the_newest_good_one(
    bucket: Bucket, lines: int
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LOOP, f"s3://{BUCKET}/r"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process:
        steps = [int(process.stdout.readline()) for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        steps += [int(line) for line in process.stdout.read().splitlines()]
    assert process.returncode == -signal.SIGKILL
    store = store_at("r")
    found, problems = store.latest()
    assert found is not None
    # A request that the process had sent may still arrive.
    assert found.step >= steps[-1]
    assert_same(found, sample(found.step, LOOP_SIZE))
    assert problems == []
    store.save(sample(1000))
    found, _ = store.latest()
    assert found is not None
    assert found.step == 1000


LARGE = 27_000_000
"""Numbers that take more than the 100 MiB from which on s3fs would put an object in parts."""


@pytest.mark.slow
def test_a_large_snapshot_is_put_whole_so_that_no_parts_of_it_can_be_left(bucket: Bucket) -> None:
    assert LARGE * 4 > 100 * 2**20
    with failing(0, None, for_ever=False) as made:
        store_at("r").save(sample(1, LARGE))
    assert made == REQUESTS[:2]
    found, problems = store_at("r").latest()
    assert found is not None
    assert_same(found, sample(1, LARGE))
    assert problems == []


def test_a_snapshot_that_is_too_large_to_be_put_whole_is_not_saved(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_folder, "MAX_PUT_BYTES", 10_000)
    with (
        failing(0, None, for_ever=False) as made,
        pytest.raises(SnapshotError, match=r"step 1 was not saved .*S3 takes 10000 bytes at once"),
    ):
        store_at("r").save(sample(1))
    assert made == []


@pytest.mark.slow
def test_a_run_whose_server_is_killed_goes_on_from_the_object_store(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # of the processes that are started here
    environment = {name: text for name, text in os.environ.items() if name.startswith("AWS_")}
    plan = dataclasses.replace(PLANS["momentum"], weights_path=tmp_path / "w.safetensors")
    with threadpool_limits(1):
        expected = train(plan)
    snapshots = SnapshotPlan(f"s3://{BUCKET}/runs/r-1", "a digest", every_steps=EVERY)
    plan = dataclasses.replace(plan, snapshots=snapshots)
    fault = Fault("server", 15, "applying", "kill")
    killed = dataclasses.replace(plan, faults=FaultPlan((fault,), 1, tmp_path / "faults.jsonl"))
    ours, theirs = PROCESSES.Pipe()
    with ours, theirs, process(serve_with, environment, killed, theirs) as server:
        assert ours.poll(SECONDS)
        address = ours.recv()
        runner = connect(address, RUNNER, address.local)
        runner.send(runner_pb2.Command().SerializeToString())
        with process(work, plan.job, address, "w"):
            assert_ended_by(server, "kill")
        runner.close(linger=0)
    assert SnapshotStore(snapshots.location, 2).steps() == [8, 12]
    with threadpool_limits(1):
        reports = run_to_end(plan, 2)
    assert resumed_at(reports) == [12]
    assert warnings(reports) == []
    assert reports[-1].finished.weights_digest == expected.weights_digest


@pytest.mark.slow
def test_a_bucket_that_is_missing_is_named(bucket: Bucket) -> None:
    store = SnapshotStore("s3://elsewhere/r", 2)
    with pytest.raises(SnapshotError, match=r"step 1 was not saved in s3://elsewhere/r"):
        store.save(sample(1))


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_not_taken_for_an_empty_store(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Port 9 of this machine is not listened on; the second address makes a new connection.
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        store = store_at("r")
        with pytest.raises(SnapshotError, match="could not be listed in s3://"):
            store.latest()
    finally:
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.slow
def test_a_snapshot_and_plain_weights_are_read_by_address(
    bucket: Bucket, two: SnapshotStore
) -> None:
    for key in bucket.pair(1):
        assert_same(read_checkpoint(f"s3://{BUCKET}/{key}"), sample(1))
    weights = {"0.W": np.ones((2, 3), np.float32)}
    bucket.put("weights.safetensors", safetensors.numpy.save(weights))
    found = read_checkpoint(f"s3://{BUCKET}/weights.safetensors")
    assert_same(found, Snapshot(0, weights, {}))
    with pytest.raises(SnapshotError, match=r"missing\.safetensors cannot be read"):
        read_checkpoint(f"s3://{BUCKET}/missing.safetensors")
