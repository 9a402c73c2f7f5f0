"""NumPy's .npz: what NumPy wrote, and what nobody should have."""

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sumgrad.workers.datasets import (
    DatasetError,
    Description,
    Npz,
)

from support.data_files import (
    BYTES,
    FLOATS,
    IMAGES,
    LABELS,
    allocating_at_most,
    array_bytes,
    check_valid,
    npy_bytes,
    refusal,
    write_npz,
    zip_bytes,
)


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


@pytest.mark.slow
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
