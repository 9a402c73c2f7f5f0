"""Files with flipped bytes: refused, or read to valid data."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sumgrad.workers.datasets import (
    Dataset,
    DatasetError,
    Description,
    Source,
    Split,
)

from support.data_files import (
    BYTES,
    FLOATS,
    IDX_ARRAYS,
    array_bytes,
    check_valid,
    write_idx,
    write_npz,
)

flips = st.lists(st.tuples(st.integers(0, 2**16), st.integers(1, 255)), min_size=1, max_size=4)
fuzzed = settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # every example writes its files
)


def flip(content: bytes, changes: list[tuple[int, int]]) -> bytes:
    changed = bytearray(content)
    for position, mask in changes:
        changed[position % len(changed)] ^= mask
    return bytes(changed)


def is_refused_or_valid(source: Source) -> None:
    try:
        dataset = source.load()
    except DatasetError:
        return
    check_valid(dataset)
    assert source.describe() == dataset.description


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["", ".gz"])
@fuzzed
@given(name=st.sampled_from(sorted(IDX_ARRAYS)), changes=flips)
def test_flipped_bytes_of_idx_files_are_refused_or_harmless(
    tmp_path: Path, ending: str, name: str, changes: list[tuple[int, int]]
) -> None:
    source = write_idx(tmp_path, ending)
    path = tmp_path / (name + ending)
    path.write_bytes(flip(path.read_bytes(), changes))
    is_refused_or_valid(source)


@pytest.mark.slow
@pytest.mark.parametrize("arrays", [BYTES, FLOATS], ids=["bytes", "floats"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@fuzzed
@given(changes=flips)
def test_flipped_bytes_of_npz_files_are_refused_or_harmless(
    tmp_path: Path, method: int, arrays: dict[str, np.ndarray], changes: list[tuple[int, int]]
) -> None:
    source = write_npz(tmp_path / "f.npz", method, **arrays)
    path = tmp_path / "f.npz"
    path.write_bytes(flip(path.read_bytes(), changes))
    is_refused_or_valid(source)


@pytest.mark.slow
@fuzzed
@given(name=st.sampled_from(sorted(BYTES)), changes=flips)
def test_flipped_bytes_under_a_right_checksum_are_refused_or_harmless(
    tmp_path: Path, name: str, changes: list[tuple[int, int]]
) -> None:
    entry = flip(array_bytes(FLOATS[name]), changes)
    is_refused_or_valid(write_npz(tmp_path / "f.npz", **{**FLOATS, name: entry}))


def test_the_judge_of_the_fuzzing_sees_a_wrong_data_set() -> None:
    x, y = np.zeros((2, 3), np.uint8), np.array([0, 5])
    split = Split(x, y, 1.0)
    good = Dataset(Description((3,), 2, 2, classes=6, target_shape=None), split, split)
    check_valid(good)
    wrong = Dataset(Description((3,), 2, 2, classes=5, target_shape=None), split, split)
    with pytest.raises(AssertionError):
        check_valid(wrong)
