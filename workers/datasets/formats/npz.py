"""NumPy's .npz: one file with the arrays x_train, y_train, x_test and y_test. Never a pickle."""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sumgrad.workers.datasets.dataset import (
    NOT_IN_DOCUMENT,
    Dataset,
    DatasetError,
    Description,
    Split,
    channels_last,
)
from sumgrad.workers.datasets.reading.files import (
    DEFLATE_LIMIT,
    blocks,
    checked_path,
    file_size,
    gather,
    quoted,
    reading,
)
from sumgrad.workers.datasets.reading.npy_header import NpyHeader, read_npy_header
from sumgrad.workers.host.allowed_paths import ANYWHERE, AllowedPaths

_NAMES = ("x_train", "y_train", "x_test", "y_test")
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


@dataclass(frozen=True)
class Npz:
    """The four arrays of a file that numpy.savez or numpy.savez_compressed wrote.

    x: uint8 (scaled by 1/255) or float32/float64 (kept as float32), of shape (rows, features),
    (rows, h, w), which gets a channel axis, or (rows, h, w, channels).
    y: integers ≥ 0 of shape (rows,), the class numbers, or floats of shape (rows,) or (rows, k).
    """

    path: str
    roots: AllowedPaths = field(default=ANYWHERE, metadata=NOT_IN_DOCUMENT)

    def describe(self) -> Description:
        """Read the headers, and y where it holds class numbers. Raises DatasetError.

        Whether floats are finite is known only to `load`.
        """
        with self._open() as arrays:
            return arrays.description()

    def load(self) -> Dataset:
        """Read everything, after the checks of `describe`. Raises DatasetError."""
        with self._open() as arrays:
            return Dataset(
                arrays.description(),
                train=_split(arrays.x_train, arrays.y_train),
                test=_split(arrays.x_test, arrays.y_test),
            )

    @contextmanager
    def _open(self) -> Iterator["_Arrays"]:
        path = checked_path(self.path)
        file_bytes = file_size(path, self.roots)
        with reading(path, self.roots) as pinned, zipfile.ZipFile(pinned) as archive:
            entries = archive.infolist()
            names = sorted(entry.filename for entry in entries)
            if names != sorted(f"{name}.npy" for name in _NAMES):
                found = ", ".join(repr(name.removesuffix(".npy"))[:40] for name in names[:8])
                raise DatasetError(
                    f"{quoted(path)} holds the arrays {found or '(none)'}; "
                    f"give exactly {', '.join(_NAMES)}."
                )
            yield _Arrays(
                **{
                    entry.filename.removesuffix(".npy"): _Member.inspect(
                        path, archive, entry, file_bytes
                    )
                    for entry in entries
                }
            )


@dataclass(frozen=True)
class _Member:
    """An array in the open file whose header agrees with the sizes on disk."""

    path: Path
    archive: zipfile.ZipFile
    entry: zipfile.ZipInfo
    header: NpyHeader

    @classmethod
    def inspect(
        cls, path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, file_bytes: int
    ) -> "_Member":
        name = f"{quoted(path)}: {entry.filename}"
        possible = {
            zipfile.ZIP_STORED: entry.file_size == entry.compress_size,
            zipfile.ZIP_DEFLATED: entry.file_size <= DEFLATE_LIMIT * entry.compress_size,
        }
        if entry.compress_type not in possible:
            raise DatasetError(
                f"{name} is compressed by method {entry.compress_type}; "
                "write it with numpy.savez or numpy.savez_compressed."
            )
        if not possible[entry.compress_type] or (
            entry.header_offset + entry.compress_size > file_bytes
        ):
            raise DatasetError(
                f"{name} declares {entry.file_size} bytes in {entry.compress_size}, which cannot "
                f"be in a file of {file_bytes}; write or download it again."
            )
        with archive.open(entry) as stream:
            header = read_npy_header(stream, name)
        if not 1 <= len(header.shape) <= 4 or min(header.shape) < 1:
            raise DatasetError(
                f"{name} has shape {header.shape[:5]}; give 1 to 4 dimensions, none of them 0."
            )
        declared = math.prod(header.shape) * header.dtype.itemsize
        if header.length + declared != entry.file_size:
            raise DatasetError(
                f"{name} declares shape {header.shape} of {header.dtype}, {declared} bytes, but "
                f"{entry.file_size - header.length} follow; write it again with numpy.savez."
            )
        return cls(path, archive, entry, header)

    @property
    def name(self) -> str:
        return f"{quoted(self.path)}: {self.entry.filename.removesuffix('.npy')}"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.header.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The native counterpart of the stored type."""
        return self.header.dtype.newbyteorder("=")

    def blocks(self) -> Iterator[NDArray[Any]]:
        """The data as stored, in 1-D arrays of bounded size."""
        with self.archive.open(self.entry) as stream:
            stream.read(self.header.length)
            yield from blocks(stream.read, self.path, math.prod(self.shape), self.header.dtype)

    def finite(self) -> Iterator[NDArray[np.float32]]:
        """The blocks as float32. Raises DatasetError where one holds NaN or infinity."""
        for block in self.blocks():
            with np.errstate(all="ignore"):  # what float32 cannot hold becomes infinity
                values = block.astype(np.float32)
            if not (finite := np.isfinite(values)).all():
                raise DatasetError(
                    f"{self.name} holds {block[~finite][0]}; give finite float32 values only."
                )
            yield values

    def class_numbers(self) -> Iterator[NDArray[np.int64]]:
        """The blocks as int64. Raises DatasetError where one holds a value that is none."""
        for block in self.blocks():
            for label in (int(block.min()), int(block.max())):
                if not 0 <= label < 2**63 - 1:
                    raise DatasetError(
                        f"{self.name} holds the class number {label}; number classes from 0."
                    )
            yield block.astype(np.int64)

    def gather(self, pieces: Iterator[NDArray[Any]], dtype: DTypeLike) -> NDArray[Any]:
        """The array that these pieces of it, in the order of the file, make."""
        if not self.header.fortran_order:
            return gather(pieces, self.shape, dtype)
        return np.ascontiguousarray(gather(pieces, self.shape[::-1], dtype).T)


@dataclass(frozen=True)
class _Arrays:
    x_train: _Member
    y_train: _Member
    x_test: _Member
    y_test: _Member

    def description(self) -> Description:
        """Check types and shapes, each by itself and against each other; read class numbers."""
        for x, y in ((self.x_train, self.y_train), (self.x_test, self.y_test)):
            if len(x.shape) < 2 or not (x.dtype == np.uint8 or x.dtype in _FLOATS):
                raise DatasetError(
                    f"{x.name} is {x.dtype} of shape {x.shape}; give uint8, float32 or float64 of "
                    "shape (rows, features), (rows, h, w) or (rows, h, w, channels)."
                )
            if len(y.shape) > (1 if _is_classes(y) else 2) or not (
                _is_classes(y) or y.dtype in _FLOATS
            ):
                raise DatasetError(
                    f"{y.name} is {y.dtype} of shape {y.shape}; give integers of shape (rows,), "
                    "or float32 or float64 of shape (rows,) or (rows, k)."
                )
            if x.shape[0] != y.shape[0]:
                raise DatasetError(
                    f"{y.name} has {y.shape[0]} rows for the {x.shape[0]} samples of "
                    f"{x.entry.filename.removesuffix('.npy')}; give every sample one target."
                )
        for train, test in ((self.x_train, self.x_test), (self.y_train, self.y_test)):
            if test.shape[1:] != train.shape[1:] or (
                (test.dtype in _FLOATS) != (train.dtype in _FLOATS)
            ):
                raise DatasetError(
                    f"{test.name} has rows of {test.dtype} of shape {test.shape[1:]}, the training "
                    f"split of {train.dtype} of {train.shape[1:]}; give both the same."
                )
        classes = target_shape = None
        if _is_classes(self.y_train):
            labels = (self.y_train, self.y_test)
            classes = 1 + max(int(b.max()) for y in labels for b in y.class_numbers())
        else:
            target_shape = _target_shape(self.y_train)
        return Description(
            channels_last(self.x_train.shape[1:]),
            train_rows=self.x_train.shape[0],
            test_rows=self.x_test.shape[0],
            classes=classes,
            target_shape=target_shape,
        )


def _is_classes(y: _Member) -> bool:
    return y.dtype.kind in "iu"


def _target_shape(y: _Member) -> tuple[int, ...]:
    return y.shape[1:] or (1,)


def _split(x: _Member, y: _Member) -> Split:
    if x.dtype == np.uint8:
        samples, scale = x.gather(x.blocks(), np.uint8), 1 / 255
    else:
        samples, scale = x.gather(x.finite(), np.float32), 1.0
    if _is_classes(y):
        targets = y.gather(y.class_numbers(), np.int64)
    else:
        targets = y.gather(y.finite(), np.float32).reshape(y.shape[0], *_target_shape(y))
    return Split(samples.reshape(len(samples), *channels_last(x.shape[1:])), targets, scale)
