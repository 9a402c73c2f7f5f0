"""Every format of the table: what it holds comes out unchanged, or not at all."""

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sumgrad.workers.datasets import (
    DATASETS,
    DatasetError,
    Description,
    Diabetes,
    Digits,
    Noise,
    Source,
    Split,
    Xor,
)
from sumgrad.workers.datasets.reading import files

from support.data_files import FLOATS, check_valid, idx_four_dimensional, write_idx, write_npz

SOURCES: dict[str, Callable[[Path], Source]] = {
    "diabetes": lambda tmp: Diabetes(),
    "digits": lambda tmp: Digits(),
    "idx": lambda tmp: write_idx(tmp / "d"),
    "idx, gzipped": lambda tmp: write_idx(tmp / "d", ".gz"),
    "idx, 4 dimensions": lambda tmp: idx_four_dimensional(tmp / "d"),
    "noise": lambda tmp: Noise((3, 5, 2), rows=40, classes=4),
    "npz, bytes": lambda tmp: write_npz(tmp / "f.npz"),
    "npz, bytes, deflated": lambda tmp: write_npz(tmp / "f.npz", zipfile.ZIP_DEFLATED),
    "npz, floats": lambda tmp: write_npz(tmp / "f.npz", **FLOATS),
    "npz, floats, deflated": lambda tmp: write_npz(tmp / "f.npz", zipfile.ZIP_DEFLATED, **FLOATS),
    "xor": lambda tmp: Xor(),
}


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    return SOURCES[request.param](tmp_path)


def test_every_format_of_the_table_is_under_test() -> None:
    assert {name.split(",")[0] for name in SOURCES} == set(DATASETS)


def test_what_is_loaded_is_what_was_described(source: Source) -> None:
    dataset = source.load()
    assert dataset.description == source.describe()
    check_valid(dataset)


def test_a_batch_is_the_scaled_rows_one_at_a_time(source: Source) -> None:
    split = source.load().train
    rows = np.array([3, 0, 3, len(split) - 1])
    x, y = split.batch(rows)
    assert x.dtype == np.float32
    assert y.dtype == split.y.dtype
    for i, row in enumerate(rows):
        expected = split.x[row].astype(np.float64) * split.scale
        np.testing.assert_allclose(x[i], expected, rtol=2e-7)
        np.testing.assert_array_equal(y[i], split.y[row])


def test_a_batch_of_floats_is_scaled_too() -> None:
    split = Split(np.array([[2.0], [6.0]], np.float32), np.array([0, 1]), scale=0.5)
    x, _ = split.batch(np.array([1, 0]))
    assert x.tolist() == [[3.0], [1.0]]


def test_a_batch_belongs_to_the_caller(source: Source) -> None:
    split = source.load().test
    x, y = split.batch(np.array([1]))
    x[...] = 77
    y[...] = 77
    again_x, again_y = split.batch(np.array([1]))
    assert not (again_x == 77).any()
    assert not (again_y == 77).any()


def test_a_row_that_does_not_exist_is_an_index_error(source: Source) -> None:
    split = source.load().test
    with pytest.raises(IndexError):
        split.batch(np.array([len(split)]))


def test_the_size_of_the_blocks_does_not_show(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = source.load()
    monkeypatch.setattr(files, "BLOCK_BYTES", 8)
    pieces = source.load()
    assert pieces.description == whole.description == source.describe()
    for a, b in ((whole.train, pieces.train), (whole.test, pieces.test)):
        np.testing.assert_array_equal(a.x, b.x)
        np.testing.assert_array_equal(a.y, b.y)


def test_a_source_and_its_error_survive_the_way_to_a_worker(source: Source) -> None:
    assert pickle.loads(pickle.dumps(source)) == source
    assert str(pickle.loads(pickle.dumps(DatasetError("why")))) == "why"


def test_a_description_has_either_classes_or_a_target_shape() -> None:
    for classes, target_shape in ((None, None), (2, (1,))):
        with pytest.raises(ValueError, match="exactly one"):
            Description((1,), 1, 1, classes, target_shape)
