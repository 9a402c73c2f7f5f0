"""Which snapshots are kept, and which one is the newest."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from sumgrad.trainer.snapshots.snapshot import Snapshot

from support.snapshot_folders import files, pair, store_at
from support.snapshot_samples import assert_same, sample


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
