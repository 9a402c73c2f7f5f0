"""IDX files: plain, gzipped, and lying."""

import gzip
import mmap
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from sumgrad.workers.datasets import (
    DatasetError,
    Description,
    Idx,
)

from support.data_files import (
    IDX_ARRAYS,
    IMAGES,
    LABELS,
    allocating_at_most,
    check_valid,
    idx_bytes,
    idx_four_dimensional,
    refusal,
    write_idx,
)
from support.repository import ROOT

MNIST = ROOT.parent / "shared" / "data" / "mnist"


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


@pytest.mark.slow
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
