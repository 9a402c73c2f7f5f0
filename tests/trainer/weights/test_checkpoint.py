"""The checkpoint that a user names: a file or a folder of snapshots."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from sumgrad.layers import Affine, Network
from sumgrad.trainer.snapshots.snapshot import DamagedSnapshotError, Snapshot, SnapshotError
from sumgrad.trainer.snapshots.snapshot_store import SnapshotStore
from sumgrad.trainer.weights.checkpoint import read_checkpoint
from sumgrad.trainer.weights.weight_file import write_weights

from support.snapshot_folders import pair, store_at
from support.snapshot_samples import assert_same, sample


@pytest.fixture
def two(tmp_path: Path) -> tuple[SnapshotStore, Path]:
    """A store with good snapshots of steps 1 and 2, and its folder."""
    folder = tmp_path / "runs" / "r-1"
    store = store_at(folder)
    store.save(sample(1))
    store.save(sample(2))
    return store, folder


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
