"""IDX, the format of MNIST and its relatives: a directory of four files, plain or gzipped.

A file is two zero bytes, a type code, the number of dimensions, each dimension as a big-endian
uint32, then the data (http://yann.lecun.com/exdb/mnist/).
"""

import gzip
import io
import math
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from sumgrad.workers.host.allowed_paths import ANYWHERE, AllowedPaths

_UINT8 = 0x08


@dataclass(frozen=True)
class Idx:
    """`train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and their `t10k-` counterparts.

    path: the directory. Each file may be gzipped (`.gz`) and may be spelled `.idx3-ubyte`.
    Images of shape (rows, h, w) get a channel axis; (rows, h, w, channels) is taken as it is.
    Plain image files are memory-mapped, so that the workers of a host share one copy: replace
    such a file by renaming another over it, never in place.
    """

    path: str
    roots: AllowedPaths = field(default=ANYWHERE, metadata=NOT_IN_DOCUMENT)

    def describe(self) -> Description:
        """Read the headers and the labels. Raises DatasetError."""
        return self._inspect()[0]

    def load(self) -> Dataset:
        """Read everything, after the checks of `describe`. Raises DatasetError."""
        description, train, test = self._inspect()
        return Dataset(description, train.load(), test.load())

    def _inspect(self) -> tuple[Description, "_Pair", "_Pair"]:
        directory = _checked_directory(self.path, self.roots)
        train = _Pair.inspect(directory, "train", self.roots)
        test = _Pair.inspect(directory, "t10k", self.roots)
        sample_shape = train.images.shape[1:]
        if test.images.shape[1:] != sample_shape:
            raise DatasetError(
                f"{quoted(test.images.path)} holds samples of shape {test.images.shape[1:]} and "
                f"{quoted(train.images.path)} of {sample_shape}; give both the same shape."
            )
        top_label = max(int(b.max()) for pair in (train, test) for b in pair.labels.blocks())
        description = Description(
            channels_last(sample_shape),
            train_rows=train.images.shape[0],
            test_rows=test.images.shape[0],
            classes=top_label + 1,
            target_shape=None,
        )
        return description, train, test


@dataclass(frozen=True)
class _IdxFile:
    """A uint8 file whose header agrees with its size on disk."""

    path: Path
    shape: tuple[int, ...]
    roots: AllowedPaths

    @classmethod
    def inspect(cls, path: Path, ranks: tuple[int, ...], roots: AllowedPaths) -> "_IdxFile":
        """Read and check the header; `ranks` are the numbers of dimensions that will do."""
        stored = file_size(path, roots)
        with _opened(path, roots) as stream:
            magic = stream.read(4)
            if magic[:3] != bytes((0, 0, _UINT8)) or len(magic) < 4 or magic[3] not in ranks:
                raise DatasetError(
                    f"{quoted(path)} begins with 0x{magic.hex()}, not with that of a uint8 IDX "
                    f"file of {' or '.join(map(str, ranks))} dimensions; convert it to one."
                )
            dims = stream.read(4 * magic[3])
            if len(dims) < 4 * magic[3]:
                raise DatasetError(f"{quoted(path)} ends within its header; write it again.")
            shape = struct.unpack(f">{magic[3]}I", dims)
        if 0 in shape:
            raise DatasetError(f"{quoted(path)} is empty (shape {shape}); give at least one row.")
        file = cls(path, shape, roots)
        declared = file.header_bytes + math.prod(shape)
        if _gzipped(path):
            unpacked = _unpacked_size(path, roots)  # modulo 2**32, as gzip keeps it
            fits = declared % 2**32 == unpacked and declared <= DEFLATE_LIMIT * stored
            found = f"{stored} gzipped bytes of {unpacked}"
        else:
            fits = declared == stored
            found = f"{stored} bytes"
        if not fits:
            raise DatasetError(
                f"{quoted(path)} declares shape {shape}, {declared} bytes with the header, but "
                f"holds {found}; write or download it again."
            )
        return file

    @property
    def header_bytes(self) -> int:
        return 4 + 4 * len(self.shape)

    def blocks(self) -> Iterator[NDArray[Any]]:
        """The data in order, in 1-D uint8 arrays of bounded size."""
        with _opened(self.path, self.roots) as stream:
            stream.read(self.header_bytes)
            yield from blocks(stream.read, self.path, math.prod(self.shape), np.dtype(np.uint8))

    def array(self) -> NDArray[Any]:
        """The data, uint8, in its shape: mapped where the file is plain, else unpacked."""
        with reading(self.path, self.roots) as pinned:
            if _gzipped(self.path):
                return gather(self.blocks(), self.shape, np.uint8)
            mapped = np.memmap(pinned, np.uint8, "r", self.header_bytes, self.shape)
            return np.asarray(mapped)  # indexing the memmap subclass itself is slower


@dataclass(frozen=True)
class _Pair:
    """The images of one split and their labels, as many."""

    images: _IdxFile
    labels: _IdxFile

    @classmethod
    def inspect(cls, directory: Path, split: str, roots: AllowedPaths) -> "_Pair":
        path = _find(directory, f"{split}-images", "idx3-ubyte")
        images = _IdxFile.inspect(path, ranks=(3, 4), roots=roots)
        path = _find(directory, f"{split}-labels", "idx1-ubyte")
        labels = _IdxFile.inspect(path, ranks=(1,), roots=roots)
        if labels.shape[0] != images.shape[0]:
            raise DatasetError(
                f"{quoted(labels.path)} holds {labels.shape[0]} labels for {images.shape[0]} "
                "images; give every image one label."
            )
        return cls(images, labels)

    def load(self) -> Split:
        x = self.images.array()
        with reading(self.labels.path):
            y = gather(self.labels.blocks(), self.labels.shape, np.int64)
        return Split(x.reshape(len(x), *channels_last(x.shape[1:])), y, scale=1 / 255)


def _checked_directory(path: str, roots: AllowedPaths) -> Path:
    directory = checked_path(path)
    with reading(directory, roots) as pinned:
        mode = pinned.stat().st_mode
    if not stat.S_ISDIR(mode):
        raise DatasetError(
            f"{quoted(directory)} is not a directory; give the directory of the four IDX files."
        )
    return directory


def _find(directory: Path, stem: str, kind: str) -> Path:
    """The file under one of its spellings; a plain one first, because it can be mapped."""
    for ending in ("", ".gz"):
        for separator in "-.":
            path = directory / f"{stem}{separator}{kind}{ending}"
            with reading(path):
                if path.exists():
                    return path
    raise DatasetError(f"{quoted(directory)} has no {stem}-{kind} or {stem}-{kind}.gz; add it.")


def _gzipped(path: Path) -> bool:
    return path.suffix == ".gz"


@contextmanager
def _opened(path: Path, roots: AllowedPaths) -> Iterator[gzip.GzipFile | io.BufferedReader]:
    """Raises DatasetError for whatever reading it in the body raises."""
    with (
        reading(path, roots) as pinned,
        gzip.GzipFile(pinned) if _gzipped(path) else pinned.open("rb") as stream,
    ):
        yield stream


def _unpacked_size(path: Path, roots: AllowedPaths) -> int:
    """The unpacked size modulo 2**32, from the trailer of a gzip file of one member."""
    with reading(path, roots) as pinned, pinned.open("rb") as stream:
        stream.seek(-4, 2)
        return int.from_bytes(stream.read(4), "little")
