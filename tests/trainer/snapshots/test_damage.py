"""A damaged snapshot is never used; the one before it is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sumgrad.trainer.snapshots import manifest
from sumgrad.trainer.snapshots.manifest import Manifest
from sumgrad.trainer.snapshots.snapshot import SnapshotError
from sumgrad.trainer.snapshots.snapshot_store import SnapshotStore

from support.snapshot_folders import pair, store_at
from support.snapshot_samples import assert_same, damaged_copies, sample


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


@pytest.mark.slow
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
