"""What a snapshot was given comes back, to the bit."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from sumgrad.layers.base.arrays import Array
from sumgrad.trainer.snapshots import document, manifest
from sumgrad.trainer.snapshots.snapshot import Snapshot, SnapshotError
from sumgrad.trainer.snapshots.tensor_file import tensor_file

from support.snapshot_folders import bits, pair, store_at
from support.snapshot_samples import assert_same, sample


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


@pytest.mark.slow
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


@pytest.mark.slow
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
