"""Data sets: what a format holds comes out unchanged, and nothing else comes out at all."""

import gzip
import io
import mmap
import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_diabetes, load_digits
from sklearn.preprocessing import StandardScaler

from sumgrad.workers.datasets import (
    DATASETS,
    Dataset,
    DatasetError,
    Description,
    Diabetes,
    Digits,
    Idx,
    Noise,
    Npz,
    Source,
    Split,
    Xor,
)
from sumgrad.workers.datasets.reading import files

from support.repository import ROOT

MNIST = ROOT.parent / "shared" / "data" / "mnist"

IMAGES = np.random.default_rng(1).integers(0, 256, (7, 3, 5), dtype=np.uint8)
LABELS = np.array([2, 0, 1, 3, 3, 0, 1], dtype=np.uint8)

# The content of four IDX files, and that of two .npz files, by name.
IDX_ARRAYS = {
    "train-images-idx3-ubyte": IMAGES[:5],
    "train-labels-idx1-ubyte": LABELS[:5],
    "t10k-images-idx3-ubyte": IMAGES[5:],
    "t10k-labels-idx1-ubyte": LABELS[5:],
}
BYTES = {
    "x_train": IMAGES[:5],
    "y_train": LABELS[:5],
    "x_test": IMAGES[5:],
    "y_test": LABELS[5:],
}
FLOATS = {
    "x_train": np.linspace(-2, 2, 20, dtype=np.float32).reshape(5, 4),
    "y_train": np.linspace(0, 1, 5),
    "x_test": np.linspace(3, 4, 8).reshape(2, 4),
    "y_test": np.array([-1.5, 2.5]),
}


# --- writing files by hand --------------------------------------------------------------------


def idx_bytes(array: np.ndarray, shape: tuple[int, ...] | None = None, code: int = 8) -> bytes:
    shape = array.shape if shape is None else shape
    header = struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)
    return header + array.tobytes()


def write_idx(directory: Path, ending: str = "", **changed: np.ndarray | bytes) -> Idx:
    """Write the four files; `changed` replaces one: an array, or the bytes of the plain file."""
    directory.mkdir(exist_ok=True)
    for name, array in IDX_ARRAYS.items():
        content = changed.get(name.rsplit("-", 2)[0].replace("-", "_"), array)
        plain = content if isinstance(content, bytes) else idx_bytes(content)
        packed = gzip.compress(plain, mtime=0) if ending == ".gz" else plain
        (directory / (name + ending)).write_bytes(packed)
    return Idx(str(directory))


def npy_bytes(header: str | bytes, data: bytes = b"", version: int = 1) -> bytes:
    """An array of format 1.0 or 2.0 with any header."""
    header = header.encode() if isinstance(header, str) else header
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes((version, 0)) + length + header + data


def array_bytes(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def zip_bytes(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=method)
    return file.getvalue()


def write_npz(
    path: Path, method: int = zipfile.ZIP_STORED, **arrays: np.ndarray | bytes | None
) -> Npz:
    """Write arrays (or an entry's bytes) over those of BYTES; None leaves one out."""
    entries = {
        f"{name}.npy": content if isinstance(content, bytes) else array_bytes(content)
        for name, content in {**BYTES, **arrays}.items()
        if content is not None
    }
    path.write_bytes(zip_bytes(entries, method))
    return Npz(str(path))


def idx_four_dimensional(directory: Path) -> Idx:
    rgb = np.arange(7 * 2 * 3 * 3, dtype=np.uint8).reshape(7, 2, 3, 3)
    return write_idx(directory, train_images=rgb[:5], t10k_images=rgb[5:])


# --- asking ----------------------------------------------------------------------------------


def refusal(source: Source, naming: str = "") -> str:
    """The message with which both methods refuse; it names the file and says what to do."""
    with pytest.raises(DatasetError) as described:
        source.describe()
    with pytest.raises(DatasetError) as loaded:
        source.load()
    message = str(described.value)
    assert str(loaded.value) == message
    assert naming in message
    assert "; " in message
    assert message.endswith(".")
    assert message.isprintable()
    return message


@contextmanager
def allocating_at_most(limit: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def check_valid(dataset: Dataset) -> None:
    """Everything that `Description` and `Split` promise."""
    about = dataset.description
    for split, rows in ((dataset.train, about.train_rows), (dataset.test, about.test_rows)):
        assert len(split) == rows > 0
        assert split.x.shape == (rows, *about.sample_shape)
        assert min(about.sample_shape) > 0
        assert split.x.dtype in (np.uint8, np.float32)
        assert split.x.flags.c_contiguous
        assert np.isfinite(split.x).all()
        assert np.isfinite(split.y).all()
        assert not split.x.flags.writeable
        assert not split.y.flags.writeable
        if about.classes is not None:
            assert split.y.dtype == np.int64
            assert split.y.shape == (rows,)
            assert split.y.min() >= 0
            assert split.y.max() < about.classes
        else:
            assert about.target_shape is not None
            assert split.y.dtype == np.float32
            assert split.y.shape == (rows, *about.target_shape)


# --- every format ------------------------------------------------------------------------------

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


# --- digits ------------------------------------------------------------------------------------


def test_the_digits_are_those_of_scikit_learn_and_every_fifth_is_held_out() -> None:
    oracle = load_digits()
    dataset = Digits().load()
    test, train = iter(range(len(dataset.test))), iter(range(len(dataset.train)))
    for i, (image, label) in enumerate(zip(oracle.images, oracle.target, strict=True)):
        split, row = (dataset.test, next(test)) if i % 5 == 0 else (dataset.train, next(train))
        x, y = split.batch(np.array([row]))
        np.testing.assert_array_equal(x[0, :, :, 0], image / 16)
        assert y[0] == label
    assert next(test, None) is next(train, None) is None


# --- diabetes ----------------------------------------------------------------------------------


def test_the_patients_are_those_of_scikit_learn_standardised_by_the_training_rows() -> None:
    x, y = load_diabetes(return_X_y=True, scaled=False)
    test = list(range(0, 442, 5))
    train = [row for row in range(442) if row not in test]
    dataset = Diabetes().load()
    for values, name in ((x, "x"), (y.reshape(-1, 1), "y")):
        oracle = StandardScaler().fit(values[train])
        for split, rows in ((dataset.train, train), (dataset.test, test)):
            expected = oracle.transform(values[rows])
            np.testing.assert_allclose(getattr(split, name), expected, rtol=1e-5, atol=1e-6)


# --- xor ---------------------------------------------------------------------------------------


def test_xor_is_the_four_points_of_exclusive_or_in_both_splits() -> None:
    dataset = Xor().load()
    for split in (dataset.train, dataset.test):
        x, y = split.batch(np.arange(4))
        found = {(*map(float, point), int(label)) for point, label in zip(x, y, strict=True)}
        assert found == {(a, b, a ^ b) for a in (0, 1) for b in (0, 1)}


# --- noise -------------------------------------------------------------------------------------


def test_noise_is_the_same_every_time_and_other_in_the_test_split() -> None:
    first, second = (Noise((2, 3), rows=16, classes=3).load() for _ in range(2))
    for a, b in ((first.train, second.train), (first.test, second.test)):
        np.testing.assert_array_equal(a.x, b.x)
        np.testing.assert_array_equal(a.y, b.y)
    assert not np.isin(first.test.x, first.train.x).any()


def test_noise_lies_between_0_and_1_and_has_every_class() -> None:
    train = Noise((10,), rows=1000, classes=5).load().train
    assert 0 <= train.x.min() < 0.01
    assert 0.99 < train.x.max() < 1
    assert train.x.mean() == pytest.approx(0.5, abs=0.01)
    assert set(train.y.tolist()) == set(range(5))


@pytest.mark.parametrize(("rows", "held_out"), [(1, 1), (8, 1), (15, 1), (16, 2), (64, 8)])
def test_an_eighth_more_rows_of_noise_are_held_out(rows: int, held_out: int) -> None:
    about = Noise((4,), rows, classes=2).describe()
    assert (about.train_rows, about.test_rows) == (rows, held_out)


def test_noise_that_is_too_large_is_refused_before_it_is_made() -> None:
    source = Noise((480, 640, 3), rows=2000, classes=10)
    with allocating_at_most(1 << 20):
        refusal(source, "2250 samples of noise")


def test_loading_noise_takes_the_memory_of_the_samples() -> None:
    source = Noise((100, 100), rows=80, classes=10)
    with allocating_at_most(90 * 40_000 + (1 << 18)):
        source.load()


# --- idx ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_files_give_their_bytes(tmp_path: Path, ending: str) -> None:
    dataset = write_idx(tmp_path, ending).load()
    assert dataset.description == Description((3, 5, 1), 5, 2, classes=4, target_shape=None)
    np.testing.assert_array_equal(dataset.train.x[..., 0], IMAGES[:5])
    np.testing.assert_array_equal(dataset.test.x[..., 0], IMAGES[5:])
    np.testing.assert_array_equal(dataset.train.y, LABELS[:5])
    np.testing.assert_array_equal(dataset.test.y, LABELS[5:])
    assert dataset.train.scale == 1 / 255


def test_four_dimensional_images_keep_their_channels(tmp_path: Path) -> None:
    assert idx_four_dimensional(tmp_path).describe().sample_shape == (2, 3, 3)


def test_the_class_count_includes_the_test_labels(tmp_path: Path) -> None:
    source = write_idx(tmp_path, t10k_labels=np.array([9, 0], np.uint8))
    assert source.describe().classes == 10


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_the_spelling_with_a_dot_is_read_too(tmp_path: Path, ending: str) -> None:
    source = write_idx(tmp_path, ending)
    expected = source.describe()
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / path.name.replace("-idx", ".idx"))
    assert source.describe() == expected


def test_plain_images_are_mapped_not_copied(tmp_path: Path) -> None:
    base: object = write_idx(tmp_path).load().train.x
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base, mmap.mmap)


@pytest.mark.skipif(not MNIST.is_dir(), reason=f"no MNIST files in {MNIST}")
def test_mnist_is_read_whole() -> None:
    dataset = Idx(MNIST).load()
    check_valid(dataset)
    assert dataset.description == Description((28, 28, 1), 60_000, 10_000, 10, None)
    with gzip.open(MNIST / "train-images-idx3-ubyte.gz") as file:
        assert zlib.crc32(file.read()[16:]) == zlib.crc32(dataset.train.x.tobytes())
    # The digits' counts as published with the data.
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(dataset.train.y).tolist() == counts
    assert dataset.test.y[:5].tolist() == [7, 2, 1, 0, 4]


@pytest.mark.parametrize("name", IDX_ARRAYS)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_every_truncation_of_an_idx_file_is_refused(tmp_path: Path, name: str, ending: str) -> None:
    source = write_idx(tmp_path, ending)
    path = tmp_path / (name + ending)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        refusal(source, naming=path.name)
    path.write_bytes(whole + b"\0")
    refusal(source, naming=path.name)


@pytest.mark.parametrize("name", IDX_ARRAYS)
def test_a_missing_idx_file_is_named(tmp_path: Path, name: str) -> None:
    source = write_idx(tmp_path)
    (tmp_path / name).unlink()
    refusal(source, naming=name)


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"train_images": idx_bytes(IMAGES[:5].astype(">i4"), code=0x0C)}, "0x00000c03"),
        ({"train_images": idx_bytes(IMAGES[:5].reshape(5, 15))}, "0x00000802"),
        ({"train_labels": idx_bytes(LABELS[:5].reshape(5, 1))}, "0x00000802"),
        ({"train_images": b"\x1f\x8b\x08\0\0\0"}, "0x1f8b0800"),
        ({"train_labels": LABELS[:4]}, "4 labels for 5 images"),
        ({"t10k_images": IMAGES[5:, :2]}, r"(2, 5)"),
        ({"t10k_images": IMAGES[:0]}, "(0, 3, 5)"),
        ({"train_images": idx_bytes(IMAGES[:0], (5, 0, 5))}, "(5, 0, 5)"),
        ({"train_labels": LABELS[:0]}, "(0,)"),
    ],
)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_files_that_do_not_fit_are_refused(
    tmp_path: Path, ending: str, changed: dict[str, np.ndarray | bytes], found: str
) -> None:
    assert found in refusal(write_idx(tmp_path, ending, **changed))


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize(
    "shape",
    [
        (2**31, 3, 5),
        (2**32 - 1, 2**32 - 1, 2**32 - 1),
        (2**32 - 1,) * 4,
        (2**31, 2, 2**32 - 1),  # a multiple of 2**32, which gzip's trailer cannot tell from 0
    ],
)
def test_an_idx_header_that_lies_allocates_nothing(
    tmp_path: Path, ending: str, shape: tuple[int, ...]
) -> None:
    source = write_idx(tmp_path, ending, train_images=idx_bytes(IMAGES[:0], shape))
    with allocating_at_most(1 << 20):
        assert str(shape[0]) in refusal(source, naming="train-images")


def test_a_gzip_trailer_that_lies_with_the_header_allocates_nothing(tmp_path: Path) -> None:
    shape = (2**20, 32, 32)
    source = write_idx(tmp_path, ".gz", train_images=idx_bytes(IMAGES[:0], shape))
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-4] + struct.pack("<I", 16 + 2**30))
    with allocating_at_most(1 << 20):
        assert "gzipped bytes" in refusal(source, naming=path.name)


@pytest.mark.parametrize("surplus", [-3, -1, 1, 3000])
@pytest.mark.parametrize("name", ["train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"])
def test_a_gzip_stream_shorter_or_longer_than_all_headers_say_is_refused(
    tmp_path: Path, name: str, surplus: int
) -> None:
    source = write_idx(tmp_path, ".gz")
    plain = idx_bytes(IDX_ARRAYS[name])
    content = plain[:surplus] if surplus < 0 else plain + bytes(surplus)
    path = tmp_path / f"{name}.gz"
    path.write_bytes(gzip.compress(content)[:-4] + struct.pack("<I", len(plain)))
    with pytest.raises(DatasetError, match=name):
        source.load()


@pytest.mark.parametrize("name", IDX_ARRAYS)
def test_a_wrong_gzip_checksum_is_refused(tmp_path: Path, name: str) -> None:
    source = write_idx(tmp_path, ".gz")
    path = tmp_path / f"{name}.gz"
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=f"{name}.*CRC"):
        source.load()


# --- npz ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_what_numpy_wrote_is_read(tmp_path: Path, write: Callable[..., None]) -> None:
    path = tmp_path / "f.npz"
    write(path, **FLOATS)
    dataset = Npz(path).load()
    assert dataset.description == Description((4,), 5, 2, classes=None, target_shape=(1,))
    for split, name in ((dataset.train, "train"), (dataset.test, "test")):
        np.testing.assert_array_equal(split.x, FLOATS[f"x_{name}"].astype(np.float32))
        np.testing.assert_array_equal(split.y[:, 0], FLOATS[f"y_{name}"].astype(np.float32))
        assert split.scale == 1.0


@pytest.mark.parametrize(
    ("stored", "sample"),
    [((6,), (6,)), ((2, 3), (2, 3, 1)), ((2, 3, 1), (2, 3, 1)), ((2, 3, 4), (2, 3, 4))],
)
@pytest.mark.parametrize("dtype", [np.uint8, ">f4", np.float64])
def test_only_images_without_channels_get_an_axis(
    tmp_path: Path, stored: tuple[int, ...], sample: tuple[int, ...], dtype: str
) -> None:
    x = np.arange(7 * np.prod(stored)).reshape(7, *stored).astype(dtype)
    dataset = write_npz(tmp_path / "f.npz", x_train=x[:5], x_test=x[5:]).load()
    check_valid(dataset)
    assert dataset.description.sample_shape == sample
    np.testing.assert_array_equal(dataset.train.x.reshape(5, *stored), x[:5])
    assert dataset.train.scale == (1 / 255 if dtype == np.uint8 else 1.0)


@pytest.mark.parametrize("dtype", ["i1", "u1", "<i2", ">i2", "<u4", ">i8", "u8"])
def test_class_numbers_may_be_of_any_integer_type(tmp_path: Path, dtype: str) -> None:
    labels = np.array([0, 4, 120, 3, 1, 5, 126], dtype)
    dataset = write_npz(tmp_path / "f.npz", y_train=labels[:5], y_test=labels[5:]).load()
    check_valid(dataset)
    assert dataset.description.classes == 127
    assert dataset.train.y.tolist() == labels[:5].tolist()


def test_targets_may_be_vectors(tmp_path: Path) -> None:
    y = np.arange(14, dtype=np.float32).reshape(7, 2)
    dataset = write_npz(tmp_path / "f.npz", y_train=y[:5], y_test=y[5:]).load()
    assert dataset.description.target_shape == (2,)
    np.testing.assert_array_equal(dataset.test.y, y[5:])


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_fortran_order_is_only_a_way_of_storing(tmp_path: Path, dtype: type) -> None:
    x = np.asfortranarray(IMAGES, dtype=dtype)
    y = np.asfortranarray(np.arange(14.0).reshape(7, 2))
    train = {"x_train": np.asfortranarray(x[:5]), "y_train": np.asfortranarray(y[:5])}
    assert b"'fortran_order': True" in array_bytes(train["x_train"])
    dataset = write_npz(tmp_path / "f.npz", x_test=x[5:], y_test=y[5:], **train).load()
    check_valid(dataset)
    np.testing.assert_array_equal(dataset.train.x[..., 0], IMAGES[:5])
    np.testing.assert_array_equal(dataset.train.y, y[:5])


@pytest.mark.parametrize("name", BYTES)
def test_a_missing_array_is_refused(tmp_path: Path, name: str) -> None:
    assert name in refusal(write_npz(tmp_path / "f.npz", **{name: None}), naming="f.npz")


def test_an_unknown_or_repeated_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.npz"
    assert "'x_valid'" in refusal(write_npz(path, x_valid=IMAGES), naming="f.npz")
    write_npz(path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("x_train.npy", array_bytes(IMAGES[:5]))
    assert "'x_train', 'x_train'" in refusal(Npz(path), naming="f.npz")
    path.write_bytes(zip_bytes({}))
    assert "(none)" in refusal(Npz(path), naming="f.npz")


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"x_train": IMAGES[:5].astype(np.int64)}, "x_train is int64"),
        ({"x_train": IMAGES[:5].astype(np.float16)}, "x_train is float16"),
        ({"x_train": IMAGES[:5] > 7}, "x_train is bool"),
        ({"x_train": IMAGES[:5].astype("M8[s]")}, "x_train is datetime64"),
        ({"x_train": IMAGES[:5].astype("c8")}, "x_train is complex64"),
        ({"x_train": np.zeros((5, 3, 5), [("a", "u1")])}, "x_train is [('a', 'u1')]"),
        ({"x_train": LABELS[:5]}, "of shape (5,)"),
        ({"x_train": np.zeros((5, 1, 1, 1, 1), np.uint8)}, "(5, 1, 1, 1, 1)"),
        ({"x_train": np.zeros((0, 3, 5), np.uint8)}, "(0, 3, 5)"),
        ({"x_train": np.zeros((5, 0), np.uint8)}, "(5, 0)"),
        ({"x_train": np.uint8(1)}, "shape ()"),
        ({"x_train": IMAGES[:4]}, "5 rows for the 4 samples of x_train"),
        ({"x_test": IMAGES[5:, :2]}, "of shape (2, 5)"),
        ({"x_test": IMAGES[5:].astype(np.float32)}, "of float32"),
        ({"y_test": LABELS[5:].astype(np.float32)}, "of float32"),
        ({"y_train": LABELS[:5].reshape(5, 1)}, "of shape (5, 1)"),
        ({"y_train": np.zeros((5, 2, 2))}, "of shape (5, 2, 2)"),
        ({"y_train": LABELS[:5] > 1}, "y_train is bool"),
        ({"y_train": LABELS[:5].astype("U1")}, "y_train is <U1"),
        ({"y_train": LABELS[:5].astype(np.float16)}, "y_train is float16"),
        ({"y_train": np.array([0, 1, -1, 0, 0])}, "class number -1"),
        ({"y_test": np.array([0, 2**63], np.uint64)}, "class number 9223372036854775808"),
        ({"y_test": np.array([0, 2**63 - 1])}, "class number 9223372036854775807"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    tmp_path: Path, changed: dict[str, np.ndarray], found: str
) -> None:
    assert found in refusal(write_npz(tmp_path / "f.npz", **changed), naming="f.npz")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("name", FLOATS)
def test_values_that_are_not_finite_are_refused(tmp_path: Path, name: str, value: float) -> None:
    array = FLOATS[name].astype(np.float64)
    array.flat[1] = value
    source = write_npz(tmp_path / "f.npz", **{**FLOATS, name: array})
    with pytest.raises(DatasetError, match=rf"{name} holds {value};".replace("+", r"\+")):
        source.load()


class Trap:
    """Fails the test where it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return (pytest.fail, ("unpickled",))


@pytest.mark.parametrize("name", BYTES)
def test_objects_are_refused_and_never_unpickled(tmp_path: Path, name: str) -> None:
    array = np.array([Trap()] * len(BYTES[name]), dtype=object)
    message = refusal(write_npz(tmp_path / "f.npz", **{name: array}), naming="f.npz")
    assert "Python objects" in message


HEADER = "{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xff\xfe",
        "(" * 5000,
        "-" * 9000 + "1",
        "[" * 150 + "]" * 150,
        "{[]: 1}",
        "{1: 1, 'descr': 2}",
        "{'descr': '|u1'}",
        "'" + "\\d" * 20 + "'",
        "a" * 20_000,
        HEADER.format(descr="'|u1'", shape="[5, 3, 5]"),
        HEADER.format(descr="'|u1'", shape="(5, 3.0)"),
        HEADER.format(descr="'|u1'", shape="(-5, -15)"),
        HEADER.format(descr="'|u1'", shape="(-(2**63), 3)"),
        HEADER.format(descr="'|u1'", shape="(-9223372036854775809, 3)"),
        HEADER.format(descr="'|u1'", shape="(9223372036854775808, 3)"),
        HEADER.format(descr="'|u1'", shape=f"(0x{'f' * 9000}, 3)"),
        HEADER.format(descr="'|u1'", shape=f"({'9' * 9000}, 3)"),
        HEADER.format(descr="'|u1'", shape=f"({'9223372036854775807,' * 400})"),
        HEADER.format(descr="'|u1'", shape="(True, True)"),
        HEADER.format(descr="()", shape="(5, 3)"),
        HEADER.format(descr="None", shape="(5, 3)"),
        HEADER.format(descr="('<f4', (1099511627776,))", shape="(5, 3)"),
        HEADER.format(descr="[('a',)]", shape="(5, 3)"),
        HEADER.format(descr="'S0'", shape="(5, 3)"),
        HEADER.format(descr="'no such type'", shape="(5, 3)"),
    ],
    ids=lambda header: str(header)[:40],
)
@pytest.mark.parametrize("version", [1, 2])
def test_a_hostile_header_is_refused(tmp_path: Path, header: str | bytes, version: int) -> None:
    entry = npy_bytes(header, version=version)
    message = refusal(write_npz(tmp_path / "f.npz", x_train=entry), naming="x_train")
    assert len(message) < 1000


@pytest.mark.parametrize(
    "header",
    [
        HEADER.format(descr="'|u1'", shape="(5, 3, 5)"),
        "{'descr': '|u1', 'fortran_order': False, 'shape': (5, 3, 5), }" + " " * 50 + "\n",
        "{'shape': (5L, 3L, 5L), 'fortran_order': False, 'descr': '|u1'}",
        '{"descr":"<u1","fortran_order":False,"shape":(5,3,5,)}',
        " { 'fortran_order' : False , 'shape' : ( 5 , 3 , 5 ) , 'descr' : 'u1' } ",
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_a_header_may_be_written_in_any_way_and_is_never_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: str, version: int
) -> None:
    images = BYTES["x_train"]
    entry = npy_bytes(header, images.tobytes(), version)
    source = write_npz(tmp_path / "f.npz", x_train=entry)
    with monkeypatch.context() as patch:
        # CPython 3.11 cannot parse in two threads at once without failing now and then.
        patch.delattr("ast.parse")
        loaded = source.load()
    np.testing.assert_array_equal(loaded.train.x[..., 0], images)


@pytest.mark.parametrize("entry", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\0v", b"PK\x03\x04", b"1,2,3"])
def test_what_is_no_array_is_refused(tmp_path: Path, entry: bytes) -> None:
    refusal(write_npz(tmp_path / "f.npz", x_train=entry), naming="x_train")


def test_an_array_of_a_later_format_is_refused(tmp_path: Path) -> None:
    entry = bytearray(array_bytes(BYTES["x_train"]))
    entry[6] = 3
    message = refusal(write_npz(tmp_path / "f.npz", x_train=bytes(entry)), naming="x_train")
    assert "1.0 or 2.0" in message


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("shape", ["(2147483648, 3)", "(2147483648, 2147483648)", "(5, 3)"])
def test_an_array_header_that_lies_allocates_nothing(
    tmp_path: Path, method: int, shape: str
) -> None:
    entry = npy_bytes(HEADER.format(descr="'<f8'", shape=shape), bytes(24))
    source = write_npz(tmp_path / "f.npz", method, x_train=entry)
    with allocating_at_most(1 << 20):
        assert "but 24 follow" in refusal(source, naming="x_train")


def test_an_array_header_of_four_gigabytes_is_not_read(tmp_path: Path) -> None:
    entry = b"\x93NUMPY\x02\0" + struct.pack("<I", 2**32 - 1) + bytes(1 << 23)
    source = write_npz(tmp_path / "f.npz", zipfile.ZIP_DEFLATED, x_train=entry)
    with allocating_at_most(1 << 20):
        refusal(source, naming="x_train")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("packed", [False, True], ids=["unpacked only", "both sizes"])
def test_a_zip_entry_that_lies_with_the_header_allocates_nothing(
    tmp_path: Path, method: int, packed: bool
) -> None:
    entry = npy_bytes(HEADER.format(descr="'|u1'", shape=f"(5, {2**28})"), bytes(24))
    source = write_npz(tmp_path / "f.npz", method, x_train=entry)
    path = tmp_path / "f.npz"
    content = bytearray(path.read_bytes())
    size = len(entry) - 24 + 5 * 2**28
    directory = content.index(b"PK\1\2")  # the first entry of the central directory: x_train
    content[directory + 24 : directory + 28] = struct.pack("<I", size)
    if packed:
        content[directory + 20 : directory + 24] = struct.pack("<I", size)
    path.write_bytes(content)
    with allocating_at_most(1 << 20):
        assert "cannot be in a file" in refusal(source, naming="x_train")


def test_a_deflated_entry_shorter_than_all_headers_say_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.npz"
    whole = array_bytes(BYTES["x_train"])
    source = write_npz(path, zipfile.ZIP_DEFLATED, x_train=whole[:-3])
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\1\2")
    content[directory + 24 : directory + 28] = struct.pack("<I", len(whole))
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"f\.npz' ends 3 bytes before"):
        source.load()


def test_class_numbers_are_described_in_bounded_memory(tmp_path: Path) -> None:
    rows = 1 << 21
    source = write_npz(
        tmp_path / "f.npz",
        zipfile.ZIP_DEFLATED,
        x_train=np.zeros((rows, 1), np.uint8),
        y_train=np.zeros(rows, np.int64),
        x_test=np.zeros((1, 1), np.uint8),
        y_test=np.array([3]),
    )
    with allocating_at_most(8 << 20):  # of 16 MiB of labels
        assert source.describe().classes == 4


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_another_compression_is_refused(tmp_path: Path, method: int) -> None:
    assert "by method" in refusal(write_npz(tmp_path / "f.npz", method), naming="x_train")


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.npz"
    source = write_npz(path)
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    assert "encrypted" in refusal(source, naming="f.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_every_truncation_of_an_npz_file_is_refused(tmp_path: Path, method: int) -> None:
    path = tmp_path / "f.npz"
    source = write_npz(path, method)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        refusal(source, naming="f.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_changed_samples_fail_their_checksum(tmp_path: Path, method: int) -> None:
    path = tmp_path / "f.npz"
    source = write_npz(path, method)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 16] ^= 1
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="CRC"):
        source.load()


# --- paths -------------------------------------------------------------------------------------

HOPELESS = ["", "\0", "a\0b", "no/such/path", "x" * 5000, "\ud800", "/dev/null", "new\nline"]


@pytest.mark.parametrize("path", HOPELESS, ids=lambda path: repr(path)[:20])
@pytest.mark.parametrize("kind", [Idx, Npz])
def test_a_path_that_leads_nowhere_is_refused(kind: Callable[[str], Source], path: str) -> None:
    refusal(kind(path))


def test_a_file_is_no_directory_and_a_directory_no_file(tmp_path: Path) -> None:
    assert "not a directory" in refusal(Idx(write_npz(tmp_path / "f.npz").path), "f.npz")
    assert "not a regular file" in refusal(Npz(tmp_path), tmp_path.name)
    source = write_idx(tmp_path / "d")
    (tmp_path / "d" / "train-labels-idx1-ubyte").unlink()
    (tmp_path / "d" / "train-labels-idx1-ubyte").mkdir()
    assert "not a regular file" in refusal(source, "train-labels")


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(Npz(tmp_path / "pipe"), "pipe")
    source = write_idx(tmp_path / "d")
    path = tmp_path / "d" / "t10k-images-idx3-ubyte"
    path.unlink()
    os.mkfifo(path)
    assert "not a regular file" in refusal(source, "t10k-images")


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for kind in (Idx, Npz):
        refusal(kind(tmp_path / "loop"), "loop")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    write_npz(tmp_path / "f.npz")
    (tmp_path / "f.npz").chmod(0)
    assert "Permission denied" in refusal(Npz(tmp_path / "f.npz"), "f.npz")
    source = write_idx(tmp_path / "d")
    (tmp_path / "d").chmod(0)
    try:
        assert "Permission denied" in refusal(source, "train-images")
    finally:
        (tmp_path / "d").chmod(0o700)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (MemoryError(), "memory"),
        (EOFError(), "EOFError"),
    ],
)
def test_what_the_machine_cannot_do_is_said(error: Exception, said: str) -> None:
    with (
        pytest.raises(DatasetError, match=f"some/file.*{said}"),
        files.reading(Path("some/file")),
    ):
        raise error


# --- damage ------------------------------------------------------------------------------------

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
