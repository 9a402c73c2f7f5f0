"""Data files written by hand, and the questions asked of every source."""

import gzip
import io
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from sumgrad.workers.datasets import (
    Dataset,
    DatasetError,
    Idx,
    Npz,
    Source,
)

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
