"""Paths are held to the operator's roots when they are opened, and not only when they are named."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sumgrad.layers import Affine, Network
from sumgrad.trainer.runner.assignment import Assignment
from sumgrad.trainer.server.parameter_server import ParameterServer
from sumgrad.trainer.server.training_plan import TrainingPlan
from sumgrad.trainer.service.outputs import run_weights
from sumgrad.trainer.snapshots.snapshot import Snapshot, SnapshotError
from sumgrad.trainer.snapshots.snapshot_store import SnapshotStore
from sumgrad.trainer.spec.allowed_locations import SpecRoots
from sumgrad.trainer.spec.parse import parse
from sumgrad.trainer.spec.violations import InvalidSpecError
from sumgrad.trainer.v1 import run_pb2, runner_pb2
from sumgrad.trainer.weights.starting_weights import starting_weights
from sumgrad.workers.datasets import Idx, Npz, Source
from sumgrad.workers.datasets.dataset import DatasetError
from sumgrad.workers.host.allowed_paths import ANYWHERE, AllowedPaths

from support.services import RunningService, StartService

OUTSIDE = "It lies outside of what the operator allows"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "root-outside"
    folder.mkdir()
    return folder


@pytest.fixture
def roots(root: Path) -> AllowedPaths:
    return AllowedPaths((str(root),))


def exchange(path: Path, target: Path) -> None:
    """Have a link in the place of what is there, which is kept beside it."""
    path.rename(path.with_name(path.name + "-before"))
    path.symlink_to(target)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# --- one path -----------------------------------------------------------------------------------


def test_what_lies_inside_is_read_by_whatever_path(root: Path, roots: AllowedPaths) -> None:
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "file").write_text("inside")
    (root / "link").symlink_to(root / "a")
    for path in (root / "a/b/file", root / "link/b/file", root / "link/../a/b/file"):
        with roots.pinned(path) as pinned:
            assert pinned.read_text() == "inside"
    with roots.pinned(root) as pinned:
        assert {entry.name for entry in pinned.iterdir()} == {"a", "link"}


def test_a_root_may_be_reached_by_a_link(tmp_path: Path, root: Path) -> None:
    (root / "file").write_text("inside")
    (tmp_path / "link").symlink_to(root)
    with AllowedPaths((str(tmp_path / "link"),)).pinned(root / "file") as pinned:
        assert pinned.read_text() == "inside"


@pytest.mark.parametrize("name", ["link", "folder/file", "../root-outside/file", "pipe"])
def test_what_lies_outside_is_not_opened_and_not_waited_for(
    root: Path, outside: Path, roots: AllowedPaths, name: str
) -> None:
    (outside / "file").write_text("outside")
    os.mkfifo(outside / "pipe")
    (root / "link").symlink_to(outside / "file")
    (root / "folder").symlink_to(outside)
    (root / "pipe").symlink_to(outside / "pipe")
    before = open_files()
    with pytest.raises(PermissionError, match=OUTSIDE), roots.pinned(root / name):
        pass
    with pytest.raises(PermissionError), AllowedPaths(()).pinned(root):
        pass
    with pytest.raises(FileNotFoundError), roots.pinned(root / "nothing"):
        pass
    assert open_files() == before


def test_a_link_that_is_exchanged_after_the_check_changes_nothing(
    root: Path, outside: Path, roots: AllowedPaths
) -> None:
    (root / "a").mkdir()
    (root / "a" / "file").write_text("inside")
    (outside / "file").write_text("outside")
    with roots.pinned(root / "a" / "file") as file, roots.pinned(root / "a") as folder:
        exchange(root / "a", outside)
        assert (root / "a" / "file").read_text() == "outside"
        assert (file.read_text(), (folder / "file").read_text()) == ("inside", "inside")


def test_without_roots_a_path_is_as_it_was_named(root: Path) -> None:
    with ANYWHERE.pinned(root / "nothing") as pinned:
        assert pinned == root / "nothing"


# --- data ---------------------------------------------------------------------------------------


def write_npz(folder: Path) -> Path:
    x, y = np.zeros((64, 4), np.float32), np.arange(64) % 10
    np.savez(folder / "a.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    return folder / "a.npz"


def write_idx(folder: Path, zipped: bool) -> Path:
    for split in ("train", "t10k"):
        images = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (9, 2, 2)) + bytes(36)
        labels = b"\0\0\x08\x01" + (9).to_bytes(4, "big") + bytes(range(9))
        for name, content in (("images-idx3", images), ("labels-idx1", labels)):
            path = folder / f"{split}-{name}-ubyte{'.gz' if zipped else ''}"
            path.write_bytes(gzip.compress(content) if zipped else content)
    return folder


FORMATS: dict[str, tuple[Callable[[Path], Path], type[Any]]] = {
    "npz": (write_npz, Npz),
    "idx": (lambda folder: write_idx(folder, zipped=False), Idx),
    "idx.gz": (lambda folder: write_idx(folder, zipped=True), Idx),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_data_inside_is_loaded_as_without_roots(root: Path, roots: AllowedPaths, kind: str) -> None:
    write, source = FORMATS[kind]
    path = str(write(root))
    confined, free = source(path, roots).load(), source(path).load()
    assert source(path, roots).describe() == confined.description == free.description
    np.testing.assert_array_equal(confined.train.x, free.train.x)
    np.testing.assert_array_equal(confined.test.y, free.test.y)


@pytest.mark.parametrize("kind", FORMATS)
def test_no_file_of_the_data_is_read_by_a_link_that_was_exchanged(
    root: Path, outside: Path, roots: AllowedPaths, kind: str
) -> None:
    write, source = FORMATS[kind]
    (root / "data").mkdir()
    found: Source = source(str(write(root / "data")), roots)
    write(outside)
    found.describe()
    for file in list((root / "data").iterdir()):
        exchange(file, outside / file.name)
        for read in (found.describe, found.load):
            with pytest.raises(DatasetError, match=OUTSIDE):
                read()
        file.unlink()
        file.with_name(file.name + "-before").rename(file)
        found.load()
    exchange(root / "data", outside)
    with pytest.raises(DatasetError, match=OUTSIDE):
        found.load()


# --- snapshots and checkpoints ------------------------------------------------------------------


def snapshot(step: int) -> Snapshot:
    return Snapshot(step, {"weights": np.full(3, step, np.float32)}, {"more": {}})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_snapshots_are_kept_inside_in_folders_that_are_made(
    root: Path, roots: AllowedPaths
) -> None:
    store = SnapshotStore(str(root / "a" / "b"), 1, roots=roots)
    assert store.latest() == (None, [])
    for step in (1, 2):
        store.save(snapshot(step))
    assert store.steps() == [2]
    assert store.at(2).arrays["weights"].tolist() == [2, 2, 2]
    store.delete_all()
    assert contents(root / "a" / "b") == {}


def test_snapshots_are_neither_written_nor_read_nor_deleted_by_a_link_that_was_exchanged(
    root: Path, outside: Path, roots: AllowedPaths
) -> None:
    store = SnapshotStore(str(root / "run"), 1, roots=roots)
    store.save(snapshot(1))
    SnapshotStore(str(outside), 1).save(snapshot(5))
    before = contents(outside)
    exchange(root / "run", outside)
    for act in (
        lambda: store.save(snapshot(2)),
        store.latest,
        store.steps,
        lambda: store.at(5),
        store.delete_all,
        lambda: SnapshotStore(str(root / "run" / "below"), 1, roots=roots).save(snapshot(2)),
    ):
        with pytest.raises(SnapshotError, match=OUTSIDE):
            act()
    assert contents(outside) == before


def test_a_partial_file_is_not_written_by_a_link_that_lies_in_its_way(
    root: Path, outside: Path, roots: AllowedPaths
) -> None:
    store = SnapshotStore(str(root), 2, roots=roots)
    store.save(snapshot(1))
    [arrays] = root.glob("*.safetensors")
    (outside / "victim").write_text("precious")
    for name in list(contents(root)):
        (root / f"{name}.partial").symlink_to(outside / "victim")
    store.save(snapshot(1))
    assert (outside / "victim").read_text() == "precious"
    assert arrays.is_file()


def test_a_checkpoint_is_not_read_by_a_link_that_was_exchanged(
    root: Path, outside: Path, roots: AllowedPaths
) -> None:
    network = Network((Affine(2),), (3,))
    layout = [["0.W", [2, 3]], ["0.b", [2]]]
    for folder in (root, outside):
        arrays = {"weights": np.ones(8, np.float32)}
        document = {"more": {"layout": layout}}
        SnapshotStore(str(folder / "run"), 1).save(Snapshot(1, arrays, document))
    named = [root / "run", *(root / "run").iterdir()]
    for path in named:
        assert starting_weights(str(path), network, roots).tolist() == [1] * 8
    exchange(root / "run", outside / "run")
    for path in named:
        with pytest.raises(SnapshotError, match=OUTSIDE):
            starting_weights(str(path), network, roots)
        assert len(starting_weights(str(root / "run"), network)) == 8


# --- from a submission to its processes ---------------------------------------------------------


def confined_run(
    start_service: StartService, document: dict[str, Any], root: Path
) -> tuple[RunningService, dict[str, Any]]:
    (root / "data").mkdir()
    (root / "snapshots").mkdir()
    data = write_npz(root / "data")
    named = document | {
        "data": {"type": "npz", "path": str(data)},
        "snapshots": {"location": str(root / "snapshots" / "team")},
        "workers": {"count": 1},
    }
    named["train"] = document["train"] | {"shards": 1}
    return start_service(data_root=(root / "data",), snapshot_root=(root / "snapshots",)), named


def planned(assignment: runner_pb2.TakeRunResponse) -> TrainingPlan:
    """What the runner that was given this has the parameter server do."""
    return Assignment.of(assignment, attempt=1).training_plan(assignment.workers)


def test_a_link_that_is_exchanged_after_the_launch_is_noticed_by_the_runs_processes(
    start_service: StartService, document: dict[str, Any], root: Path, outside: Path
) -> None:
    service, named = confined_run(start_service, document, root)
    service.client.submit(named)
    assignment = service.next_runner().take()
    write_npz(outside)
    plan = planned(assignment)
    plan.job.source.describe()
    plan.job.source.load()
    exchange(root / "data" / "a.npz", outside / "a.npz")
    for act in (lambda: ParameterServer(plan), plan.job.source.load):
        with pytest.raises(DatasetError, match=OUTSIDE):
            act()
    assert plan.start_roots.folders == (str(root / "data"), str(root / "snapshots"))
    assert plan.snapshots is not None
    assert plan.snapshots.roots.folders == (str(root / "snapshots"),)


def test_a_run_without_a_location_of_its_own_keeps_its_snapshots_with_the_service(
    start_service: StartService, document: dict[str, Any], root: Path
) -> None:
    service = start_service(data_root=(root,))
    service.client.submit(document)
    assignment = service.next_runner().take()
    plan = planned(assignment)
    assert plan.snapshots is not None
    assert plan.snapshots.roots == ANYWHERE
    assert plan.start_roots.folders == (str(root),)


def test_without_roots_a_runner_is_told_of_none(
    service: RunningService, document: dict[str, Any]
) -> None:
    service.client.submit(document)
    assignment = service.next_runner().take()
    assert not assignment.HasField("roots")
    assert Assignment.of(assignment, attempt=1).spec.roots == SpecRoots()


def test_the_service_reads_no_snapshot_by_a_link_that_was_exchanged(
    root: Path, outside: Path, roots: AllowedPaths
) -> None:
    run = run_pb2.Run(id="r-1")
    run.spec.snapshots.location = str(root / "team")
    SnapshotStore(str(root / "team" / "r-1"), 1).save(snapshot(1))
    place = run_weights.find(run, root / "runs" / "r-1", None, roots)
    SnapshotStore(str(outside / "r-1"), 1).save(snapshot(1))
    exchange(root / "team", outside)
    with pytest.raises(run_weights.NoWeightsError, match=OUTSIDE):
        run_weights.arrays(place)
    with pytest.raises(run_weights.NoWeightsError, match=OUTSIDE):
        run_weights.find(run, root / "runs" / "r-1", None, roots)


def test_roots_are_no_field_of_a_specification(root: Path, document: dict[str, Any]) -> None:
    named = document | {"data": {"type": "npz", "path": "/x.npz"}}
    spec = parse(named).within(SpecRoots.of([str(root)], []))
    assert spec.document() == parse(named).document()
    with pytest.raises(InvalidSpecError, match="roots"):
        parse(document | {"data": {"type": "npz", "path": "/x.npz", "roots": None}})
