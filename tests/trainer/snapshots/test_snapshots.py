"""Snapshots in a folder: the newest good one is there, whenever and however a save ends."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from sumgrad.layers import Affine, Network
from sumgrad.layers.base.arrays import Array
from sumgrad.trainer.snapshots import document, manifest
from sumgrad.trainer.snapshots.manifest import Manifest
from sumgrad.trainer.snapshots.snapshot import DamagedSnapshotError, Snapshot, SnapshotError
from sumgrad.trainer.snapshots.snapshot_store import SnapshotStore
from sumgrad.trainer.snapshots.tensor_file import tensor_file
from sumgrad.trainer.snapshots.writer import Outcome, Writer
from sumgrad.trainer.weights.checkpoint import read_checkpoint
from sumgrad.trainer.weights.weight_file import write_weights

from support.leftovers import nothing_left_behind
from support.snapshot_samples import LOOP, LOOP_SIZE, assert_same, damaged_copies, sample
from support.waiting import SECONDS


def bits(number: float) -> bytes:
    return struct.pack("<d", number)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "r-1"


def store_at(folder: Path, keep: int = 2) -> SnapshotStore:
    return SnapshotStore(str(folder), keep)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def pair(folder: Path, step: int) -> tuple[Path, Path]:
    """The arrays and the manifest of the only snapshot of a step."""
    (arrays,) = folder.glob(f"step-{step:012d}-*.safetensors")
    (described,) = folder.glob(f"step-{step:012d}-*.json")
    return arrays, described


# --- what is written comes back ----------------------------------------------------------------


def test_a_snapshot_comes_back_bit_for_bit(folder: Path) -> None:
    saved = sample(3)
    store_at(folder).save(saved)
    found, problems = store_at(folder).latest()
    assert problems == []
    assert found is not None
    assert_same(found, saved)


def test_arrays_that_come_back_may_be_changed(folder: Path) -> None:
    store_at(folder).save(sample(3))
    found, _ = store_at(folder).latest()
    assert found is not None
    assert all(array.flags.writeable for array in found.arrays.values())


@given(st.floats())
def test_every_float_of_a_document_comes_back_bit_for_bit(number: float) -> None:
    found = document.load(document.dump({"list": [{"x": number}]}))
    assert bits(found["list"][0]["x"]) == bits(number)


def test_the_payload_and_the_sign_of_nan_come_back() -> None:
    (number,) = struct.unpack("<d", bytes.fromhex("efcdab8967f5ffff"))
    assert math.isnan(number)
    assert bits(document.load(document.dump({"x": number}))["x"]) == bits(number)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=40)
@given(st.dictionaries(st.text(), PLAIN))
def test_every_plain_document_comes_back(content: dict[str, Any]) -> None:
    found = document.load(document.dump(content))
    assert repr(found) == repr(content)


@pytest.mark.parametrize(
    "value", [(1, 2), {1: "a"}, {"$float64": "00"}, b"a", np.float32(1), {1, 2}, ...], ids=repr
)
def test_what_would_not_come_back_as_it_was_is_refused_by_its_path(
    folder: Path, value: object
) -> None:
    snapshot = Snapshot(1, {}, {"schedule": [0, {"best": value}]})
    with pytest.raises(SnapshotError, match=r"^document\.schedule\[1\]\.best of a snapshot is "):
        store_at(folder).save(snapshot)
    assert not folder.exists()


def test_arrays_of_another_type_are_refused_by_name(folder: Path) -> None:
    with pytest.raises(SnapshotError, match="'w' of a snapshot is of type float64"):
        store_at(folder).save(Snapshot(1, {"w": np.zeros(2)}, {}))


def test_a_document_that_is_too_large_to_be_read_is_not_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "MAX_BYTES", 1000)
    with pytest.raises(SnapshotError, match="of at most 1000: keep what is long as an array"):
        store_at(folder).save(Snapshot(1, {}, {"long": "x" * 1000}))
    assert not folder.exists()


ARRAYS = [
    {},
    {"scalar": np.array(3, np.float32)},
    {"none": np.zeros((0, 3), np.float32), "some": np.arange(6, dtype=np.float32).reshape(2, 3)},
    {
        'b/\u00e9"\n': np.ones(1, np.float32),
        "a": np.ones(1, np.float32),
        "B": np.ones(2, np.float32),
    },
]


@pytest.mark.parametrize("arrays", ARRAYS, ids=lambda arrays: ",".join(map(ascii, arrays)))
def test_the_file_of_arrays_is_the_one_that_safetensors_writes(arrays: dict[str, Array]) -> None:
    assert b"".join(tensor_file(arrays)) == safetensors.numpy.save(arrays)


def test_an_array_with_gaps_is_written_as_its_elements() -> None:
    every_second = np.arange(10, dtype=np.float32)[::2]
    content = b"".join(tensor_file({"w": every_second}))
    np.testing.assert_array_equal(safetensors.numpy.load(content)["w"], every_second)


def test_the_manifest_is_json_that_describes_the_arrays(folder: Path) -> None:
    store_at(folder).save(sample(3))
    arrays, described = pair(folder, 3)
    content = json.loads(described.read_text())["manifest"]
    assert (content["format"], content["step"]) == (1, 3)
    assert content["files"][arrays.name]["size"] == arrays.stat().st_size


# --- which ones are kept, and which one is the newest ------------------------------------------


def test_no_folder_means_no_snapshot(folder: Path) -> None:
    store = store_at(folder)
    assert store.latest() == (None, [])
    assert store.steps() == []
    store.delete_all()
    assert not folder.exists()


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_are_kept(folder: Path, keep: int) -> None:
    store = store_at(folder, keep)
    for step in range(1, 6):
        store.save(sample(step))
    assert store.steps() == list(range(6 - keep, 6))
    assert len(files(folder)) == 2 * keep
    found, _ = store.latest()
    assert found is not None
    assert found.step == 5


def test_at_least_one_is_kept(folder: Path) -> None:
    with pytest.raises(ValueError, match="keep is 0"):
        store_at(folder, 0)


def test_steps_are_ordered_as_numbers(folder: Path) -> None:
    store = store_at(folder, 3)
    for step in (9, 10, 10**13):
        store.save(sample(step))
    assert store.steps() == [9, 10, 10**13]
    found, _ = store.latest()
    assert found is not None
    assert found.step == 10**13


def test_saving_a_step_again_replaces_it(folder: Path) -> None:
    store = store_at(folder, 3)
    store.save(sample(3))
    other = Snapshot(3, {"w": np.full(4, 7, np.float32)}, {"second": True})
    store.save(other)
    found, _ = store.latest()
    assert found is not None
    assert_same(found, other)
    assert len(files(folder)) == 2


def test_the_same_arrays_with_another_document_replace_it_too(folder: Path) -> None:
    store = store_at(folder, 3)
    store.save(sample(3))
    other = Snapshot(3, sample(3).arrays, {"second": True})
    store.save(other)
    found, _ = store.latest()
    assert found is not None
    assert_same(found, other)
    assert len(files(folder)) == 2


def test_a_save_of_an_earlier_step_deletes_neither_itself_nor_the_newest(folder: Path) -> None:
    for step in (30, 31):
        store_at(folder).save(sample(step))
    store_at(folder).save(sample(20))
    assert store_at(folder).steps() == [20, 31]


def test_what_was_found_damaged_makes_room_for_good_ones(folder: Path) -> None:
    store = store_at(folder)
    for step in (20, 30):
        store.save(sample(step))
    pair(folder, 30)[0].write_bytes(b"torn")
    store.latest()
    store.save(sample(25))
    assert store.steps() == [20, 25]


def test_what_cannot_be_read_just_now_is_not_taken_for_damaged(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(folder)
    for step in (20, 30):
        store.save(sample(step))
    arrays, _ = pair(folder, 30)
    read_bytes = Path.read_bytes

    def fail(path: Path) -> bytes:
        if path == arrays:
            raise OSError(errno.EIO, "Input/output error")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", fail)
    found, (problem,) = store.latest()
    assert found is not None
    assert found.step == 20
    assert "it cannot be read (Input/output error)" in problem
    store.save(sample(25))
    assert store.steps() == [25, 30]


def test_other_files_are_left_alone(folder: Path) -> None:
    folder.mkdir(parents=True)
    others = {"weights.safetensors", "notes.partial", "step-1.json", "spec.json"}
    for name in others:
        (folder / name).write_text("mine")
    store = store_at(folder, 1)
    for step in (1, 2):
        store.save(sample(step))
    assert store.steps() == [2]
    store.delete_all()
    assert files(folder) == others


# --- what is damaged is never used -------------------------------------------------------------


@pytest.fixture
def two(folder: Path) -> tuple[SnapshotStore, Path]:
    """A store with a good snapshot of step 1 and one of step 2 that the test damages."""
    store = store_at(folder)
    store.save(sample(1))
    store.save(sample(2))
    return store, folder


def assert_first_is_used(store: SnapshotStore, names: str) -> None:
    """And one problem is reported, which names this."""
    found, problems = store.latest()
    assert found is not None
    assert_same(found, sample(1))
    (problem,) = problems
    assert names in problem


@pytest.mark.parametrize("which", [0, 1], ids=["arrays", "manifest"])
def test_a_file_that_is_cut_off_anywhere_is_not_used(
    two: tuple[SnapshotStore, Path], which: int
) -> None:
    store, folder = two
    path = pair(folder, 2)[which]
    content = path.read_bytes()
    lengths = [*range(0, len(content), 4096), len(content) - 1]
    assert len(lengths) > 3
    for length in lengths:
        path.write_bytes(content[:length])
        assert_first_is_used(store, path.stem)


@pytest.mark.parametrize("which", [0, 1], ids=["arrays", "manifest"])
def test_bytes_that_were_appended_are_found(two: tuple[SnapshotStore, Path], which: int) -> None:
    store, folder = two
    path = pair(folder, 2)[which]
    for more in (b"\0", b"\n", b" "):
        content = path.read_bytes()
        path.write_bytes(content + more)
        assert_first_is_used(store, path.stem)
        path.write_bytes(content)


def test_every_single_bit_flip_is_found(two: tuple[SnapshotStore, Path]) -> None:
    store, folder = two
    paths = pair(folder, 2)
    contents = [path.read_bytes() for path in paths]
    flips = 0
    for which, content in damaged_copies(contents, 1000, seed=11):
        paths[which].write_bytes(content)
        assert_first_is_used(store, paths[which].stem)
        paths[which].write_bytes(contents[which])
        flips += 1
    assert flips == 1000
    found, problems = store.latest()
    assert found is not None
    assert (found.step, problems) == (2, [])


def test_the_same_meaning_in_other_bytes_is_refused(two: tuple[SnapshotStore, Path]) -> None:
    store, folder = two
    path = pair(folder, 2)[1]
    content = path.read_text()
    digest = json.loads(content)["sha256"]
    for other in (
        json.dumps(json.loads(content)),
        content.replace(digest, digest.upper()),
        content.rstrip() + " ",
    ):
        assert other != content
        path.write_text(other)
        assert_first_is_used(store, "its manifest is damaged")


def test_arrays_that_are_missing_are_reported(two: tuple[SnapshotStore, Path]) -> None:
    store, folder = two
    pair(folder, 2)[0].unlink()
    assert_first_is_used(store, "is missing")


def test_arrays_without_a_manifest_are_no_snapshot(two: tuple[SnapshotStore, Path]) -> None:
    store, folder = two
    pair(folder, 2)[1].unlink()
    found, problems = store.latest()
    assert found is not None
    assert (found.step, problems) == (1, [])


def test_a_manifest_under_another_name_is_refused(two: tuple[SnapshotStore, Path]) -> None:
    store, folder = two
    pair(folder, 2)[1].write_bytes(pair(folder, 1)[1].read_bytes())
    assert_first_is_used(store, "its manifest describes step-000000000001-")


def test_a_pipe_in_the_place_of_a_manifest_does_not_hang(two: tuple[SnapshotStore, Path]) -> None:
    store, folder = two
    path = pair(folder, 2)[1]
    path.unlink()
    os.mkfifo(path)
    assert_first_is_used(store, "Not a regular file")


def test_a_manifest_that_is_too_large_is_not_read(
    two: tuple[SnapshotStore, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, folder = two
    path = pair(folder, 2)[1]
    os.truncate(path, manifest.MAX_BYTES + 1)
    read: list[str] = []
    read_bytes = Path.read_bytes

    def watch(path: Path) -> bytes:
        read.append(path.name)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", watch)
    assert_first_is_used(store, "of at most")
    assert path.name not in read
    assert pair(folder, 1)[1].name in read


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[]", "valid dictionary"),
        ('{"format":1}', "step is not as it should be"),
        ('{"format":1,"step":-1,"files":{},"document":{}}', "step is not as it should be"),
        ('{"format":1,"step":1.0,"files":{},"document":{}}', "step is not as it should be"),
        ('{"format":1,"step":2,"files":{"../x":{"size":1,"sha256":""}},"document":{}}', "../x"),
        ('{"format":1,"step":2,"files":{},"document":{"x":{"$float64":1}}}', "damaged"),
        ('{"format":1,"step":2,"files":{},"document":{"x":{"$float64":"00"}}}', "damaged"),
        ("[" * 100_000, "recursion"),
        ("\\ud800", "damaged"),
    ],
)
def test_a_sealed_manifest_is_still_not_trusted(
    two: tuple[SnapshotStore, Path], content: str, why: str
) -> None:
    store, folder = two
    pair(folder, 2)[1].write_bytes(manifest._seal(content.encode()))
    assert_first_is_used(store, why)


def test_a_snapshot_of_a_later_format_is_named_and_not_taken_for_damaged(
    two: tuple[SnapshotStore, Path],
) -> None:
    store, folder = two
    later = manifest.dump(Manifest(format=2, step=2, files={}, document={}))
    pair(folder, 2)[1].write_bytes(later)
    assert_first_is_used(store, "it has the format 2, and this version of sumgrad reads format 1")
    store.save(sample(1))
    assert store.steps() == [1, 2]


def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(SnapshotError, match="could not be listed"):
        store_at(path).latest()


def test_snapshots_that_are_deleted_while_they_are_read_are_no_problem(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = store_at(folder, 1), store_at(folder, 1)
    writer.save(sample(1))
    stat, moves = Path.stat, iter(range(2, 4))

    def first_save_another(path: Path, **options: Any) -> os.stat_result:
        if path.parent == folder and (step := next(moves, None)):
            writer.save(sample(step))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", first_save_another)
    found, problems = reader.latest()
    assert found is not None
    assert (found.step, problems) == (3, [])


# --- a process that ends anywhere --------------------------------------------------------------


class KilledError(BaseException):
    """In the place of SIGKILL."""


CALLS = ("open", "write", "fsync", "replace", "unlink", "mkdir")


@contextmanager
def failing(at: int, effect: Callable[[], BaseException], for_ever: bool) -> Iterator[list[str]]:
    """Let the n-th call that changes the disk fail; yields the calls that were made.

    Args:
        for_ever: every later one fails as well, as if the process were dead.
    """
    made: list[str] = []

    def shim(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            made.append(name)
            if len(made) == at or (for_ever and len(made) > at):
                if name == "write" and len(made) == at:
                    descriptor, piece = args
                    real(descriptor, piece[: len(piece) // 2])
                raise effect()
            return real(*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, shim(name, getattr(os, name)))
        yield made


def calls_of_a_save(folder: Path, keep: int) -> list[str]:
    """What a save that goes well does to the disk."""
    store = store_at(folder, keep)
    for step in range(1, 3):
        store.save(sample(step))
    with failing(0, KilledError, for_ever=False) as made:
        store.save(sample(3))
    return made


def test_a_save_makes_the_calls_that_the_following_tests_let_fail(folder: Path) -> None:
    made = calls_of_a_save(folder, keep=2)
    assert set(made) == set(CALLS) - {"mkdir"}
    assert made.count("replace") == 2
    assert made.count("unlink") == 2


@pytest.mark.parametrize("keep", [1, 2])
def test_a_process_killed_at_any_call_leaves_the_newest_good_one(tmp_path: Path, keep: int) -> None:
    count = len(calls_of_a_save(tmp_path / "whole", keep))
    for at in range(1, count + 1):
        folder = tmp_path / str(at)
        for step in (1, 2):
            store_at(folder, keep).save(sample(step))
        with failing(at, KilledError, for_ever=True) as made, pytest.raises(KilledError):
            store_at(folder, keep).save(sample(3))
        assert len(made) >= at

        found, problems = store_at(folder, keep).latest()
        assert found is not None
        # The second replace is the manifest's.
        assert_same(found, sample(3 if made[: at - 1].count("replace") == 2 else 2))
        assert problems == []

        store_at(folder, keep).save(sample(4))
        found, problems = store_at(folder, keep).latest()
        assert found is not None
        assert_same(found, sample(4))
        assert problems == []
        assert len(files(folder)) == 2 * keep, "something is left of the save that was killed"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("keep", [1, 2])
def test_a_full_disk_at_any_call_leaves_the_newest_good_one_and_nothing_partial(
    tmp_path: Path, keep: int, number: int
) -> None:
    def error() -> OSError:
        return OSError(number, os.strerror(number))

    count = len(calls_of_a_save(tmp_path / "whole", keep))
    for at in range(1, count + 1):
        folder = tmp_path / str(at)
        store = store_at(folder, keep)
        for step in (1, 2):
            store.save(sample(step))
        before = files(folder)
        with (
            failing(at, error, for_ever=False) as made,
            pytest.raises(SnapshotError, match=os.strerror(number)) as caught,
        ):
            store.save(sample(3))
        assert str(folder) in str(caught.value)

        manifest_is_there = made[: at - 1].count("replace") == 2
        if not manifest_is_there:
            assert "was not saved" in str(caught.value)
            assert files(folder) == before
        found, problems = store.latest()
        assert found is not None
        assert_same(found, sample(3 if manifest_is_there else 2))
        assert problems == []

        store.save(sample(4))
        assert len(files(folder)) == 2 * keep


def test_a_disk_that_stays_broken_endangers_nothing(folder: Path) -> None:
    store = store_at(folder)
    store.save(sample(1))
    with (
        failing(1, lambda: OSError(errno.EROFS, "Read-only file system"), for_ever=True),
        pytest.raises(SnapshotError, match="Read-only file system"),
    ):
        store.save(sample(2))
    found, problems = store.latest()
    assert found is not None
    assert (found.step, problems) == (1, [])


def test_a_full_disk_while_a_snapshot_is_saved_again_does_not_harm_it(folder: Path) -> None:
    store = store_at(folder, 1)
    store.save(sample(1))
    with failing(0, KilledError, for_ever=False) as made:
        store.save(sample(1))
    for at in range(1, len(made) + 1):
        with (
            failing(at, lambda: OSError(errno.ENOSPC, "full"), for_ever=False),
            pytest.raises(SnapshotError, match="full"),
        ):
            store.save(sample(1))
        found, problems = store.latest()
        assert found is not None
        assert_same(found, sample(1))
        assert problems == []


def test_what_a_name_stands_for_is_on_the_disk_before_the_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No loss of power may leave a manifest without its arrays."""
    store = store_at(folder, 1)
    store.save(sample(1))
    events: list[str] = []

    def target(descriptor: int) -> str:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        return "folder" if path == folder else path.suffixes[0]

    def watch(name: str, what: Callable[..., str]) -> None:
        real = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            event = f"{name} {what(args[0])}"
            if event not in events[-1:]:
                events.append(event)
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, call)

    watch("write", target)
    watch("fsync", target)
    watch("replace", lambda path: Path(path).suffixes[0])
    watch("unlink", lambda path: Path(path).suffixes[0])
    store.save(sample(2))
    assert events == [
        "write .safetensors",
        "fsync .safetensors",
        "replace .safetensors",
        "fsync folder",
        "write .json",
        "fsync .json",
        "replace .json",
        "fsync folder",
        "unlink .json",
        "fsync folder",
        "unlink .safetensors",
        "fsync folder",
    ]


def test_a_new_folder_is_on_the_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, fsync = [], os.fsync

    def watch(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    store_at(tmp_path / "a" / "b").save(sample(1))
    assert synced[:2] == [tmp_path, tmp_path / "a"]


@pytest.mark.parametrize("lines", [1, 2, 3, 5, 8, 13])
def test_a_process_that_is_really_killed_leaves_the_newest_good_one(
    folder: Path, lines: int
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LOOP, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process:
        steps = [int(process.stdout.readline()) for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        steps += [int(line) for line in process.stdout.read().splitlines()]
    assert process.returncode == -signal.SIGKILL

    store = store_at(folder)
    found, problems = store.latest()
    assert found is not None
    assert_same(found, sample(found.step, size=LOOP_SIZE))
    assert found.step in (steps[-1], steps[-1] + 1)
    assert problems == []
    store.save(sample(found.step + 1))
    assert len(files(folder)) == 4


# --- the one that the user names ---------------------------------------------------------------


@pytest.mark.parametrize("which", [0, 1], ids=["arrays", "manifest"])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_snapshot_is_read_by_the_name_of_either_file(
    two: tuple[SnapshotStore, Path], which: int, scheme: str
) -> None:
    _, folder = two
    assert_same(read_checkpoint(f"{scheme}{pair(folder, 1)[which]}"), sample(1))


def test_a_file_of_weights_is_read_by_its_arrays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = np.arange(8, dtype=np.float32)
    write_weights(tmp_path / "weights.safetensors", Network((Affine(2),), (3,)), flat, {"a": "b"})
    arrays = {"0.W": flat[:6].reshape(2, 3), "0.b": flat[6:]}
    monkeypatch.chdir(tmp_path)
    for name in ("weights.safetensors", str(tmp_path / "weights.safetensors")):
        assert_same(read_checkpoint(name), Snapshot(0, arrays, {}))


def test_a_named_snapshot_that_is_damaged_is_refused_not_replaced(
    two: tuple[SnapshotStore, Path],
) -> None:
    _, folder = two
    arrays, described = pair(folder, 2)
    os.truncate(arrays, 100)
    for path in (arrays, described):
        with pytest.raises(DamagedSnapshotError, match="has 100 bytes of"):
            read_checkpoint(str(path))


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("missing.json", None, "No such file"),
        ("missing.safetensors", None, "No such file"),
        ("weights.npz", b"", "neither a snapshot nor weights"),
        ("short.safetensors", b"abc", "not a safetensors file"),
        ("huge.safetensors", b"\xff" * 8 + b"{}", "not a safetensors file"),
        ("pickle.safetensors", b"\x80\x04K\x01.", "not a safetensors file"),
        ("other.json", b"{}", "its manifest is damaged"),
    ],
)
def test_what_is_no_checkpoint_is_refused_with_a_sentence(
    tmp_path: Path, name: str, content: bytes | None, why: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SnapshotError, match=why) as caught:
        read_checkpoint(str(tmp_path / name))
    assert name in str(caught.value)


def test_any_address_that_fsspec_knows_will_do() -> None:
    store = SnapshotStore("memory://test-snapshots/r/", 1)
    for step in (1, 2):
        store.save(sample(step))
    found, problems = store.latest()
    assert found is not None
    assert_same(found, sample(2))
    assert problems == []
    assert store.steps() == [2]
    store.delete_all()
    assert store.latest() == (None, [])


def test_an_address_that_nobody_knows_is_refused() -> None:
    with pytest.raises(SnapshotError, match="No snapshots can be kept in nothing://x"):
        SnapshotStore("nothing://x", 1)


# --- a thread of its own -----------------------------------------------------------------------


class HeldStore(SnapshotStore):
    """Saves when the test lets it.

    Attributes:
        arrays: what each save was given.
        error: raised by the next saves.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), 2)
        self.go = threading.Semaphore(0)
        self.arrays: list[dict[str, Array]] = []
        self.error: Exception | None = None
        self._running = threading.Lock()

    def save(self, snapshot: Snapshot) -> None:
        assert self._running.acquire(blocking=False), "two saves at once"
        self.arrays.append(snapshot.arrays)
        try:
            assert self.go.acquire(timeout=SECONDS)
            if self.error is not None:
                raise self.error
            super().save(snapshot)
        finally:
            self._running.release()


def outcome(writer: Writer) -> Outcome:
    """Of the save in progress."""
    assert writer._thread is not None
    writer._thread.join(SECONDS)
    found = writer.finished()
    assert found is not None
    return found


@pytest.fixture
def held(folder: Path) -> Iterator[tuple[HeldStore, Writer]]:
    with nothing_left_behind():
        store = HeldStore(folder)
        writer = Writer(store)
        yield store, writer
        store.go.release(10)
        assert writer.close(SECONDS)


def test_what_was_offered_is_saved_whatever_the_caller_does_afterwards(
    held: tuple[HeldStore, Writer],
) -> None:
    store, writer = held
    given = sample(1)
    assert writer.offer(given.step, given.arrays, given.document)
    for array in given.arrays.values():
        array[...] = -1
    given.document["history"].append("more")
    given.arrays.clear()
    store.go.release()
    assert outcome(writer) == Outcome(1, None)
    found, _ = store.latest()
    assert found is not None
    assert_same(found, sample(1))


def test_nothing_is_copied_while_a_save_is_in_progress(held: tuple[HeldStore, Writer]) -> None:
    store, writer = held
    arrays = {"w": np.ones(3, np.float32)}
    assert writer.offer(1, arrays, {})
    assert writer.finished() is None
    arrays["w"][:] = 2
    assert not writer.offer(2, arrays, {})
    assert store.arrays[0]["w"].tolist() == [1, 1, 1]
    store.go.release()
    assert outcome(writer) == Outcome(1, None)
    assert writer.finished() is None
    assert store.steps() == [1]


def test_copies_are_used_again(held: tuple[HeldStore, Writer]) -> None:
    store, writer = held
    store.go.release(3)
    for step in (1, 2):
        assert writer.offer(step, {"w": np.full(3, step, np.float32)}, {})
        assert outcome(writer).error is None
    first, second = (arrays["w"] for arrays in store.arrays)
    assert first is second
    assert writer.offer(3, {"w": np.zeros(4, np.float32)}, {})
    assert outcome(writer).error is None
    found, _ = store.latest()
    assert found is not None
    assert found.arrays["w"].shape == (4,)


@pytest.mark.parametrize("error", [SnapshotError("full"), RuntimeError("a mistake")], ids=repr)
def test_an_error_is_collected_and_the_next_save_works(
    held: tuple[HeldStore, Writer], error: Exception
) -> None:
    store, writer = held
    store.error = error
    store.go.release()
    assert writer.offer(1, {}, {})
    assert outcome(writer) == Outcome(1, error)
    store.error = None
    store.go.release()
    assert writer.offer(2, {}, {})
    assert outcome(writer) == Outcome(2, None)


def test_outcomes_that_nobody_asked_for_are_not_lost(held: tuple[HeldStore, Writer]) -> None:
    store, writer = held
    store.go.release(2)
    for step in (1, 2):
        assert writer.offer(step, {}, {})
        assert writer._thread is not None
        writer._thread.join(SECONDS)
    assert [writer.finished(), writer.finished()] == [Outcome(1, None), Outcome(2, None)]
    assert writer.finished() is None


def test_closing_waits_for_the_save_but_not_for_ever(held: tuple[HeldStore, Writer]) -> None:
    store, writer = held
    assert writer.offer(1, {}, {})
    assert not writer.close(0)
    assert not writer.offer(2, {}, {})
    store.go.release()
    assert writer.close(SECONDS)
    assert writer.finished() == Outcome(1, None)
    assert not writer.offer(3, {}, {})
    assert store.steps() == [1]


def test_a_writer_without_work_closes_at_once(folder: Path) -> None:
    writer = Writer(store_at(folder))
    assert writer.finished() is None
    assert writer.close(0)
    assert not folder.exists()


def test_damaged_copies_differ_in_one_bit() -> None:
    """The checker of the tests above."""
    contents = [bytes(50), bytes(range(50))]
    seen = set()
    for which, content in damaged_copies(contents, 200, seed=1):
        differing = [a ^ b for a, b in zip(content, contents[which], strict=True) if a != b]
        assert len(differing) == 1
        assert differing[0].bit_count() == 1
        seen.add(which)
    assert seen == {0, 1}
