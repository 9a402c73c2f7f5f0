"""The rows of one array in a .npy or .npz file; never a pickle, and no more than the file holds."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from sumgrad.workers.datasets.dataset import DatasetError
from sumgrad.workers.datasets.reading.files import DEFLATE_LIMIT, file_size, quoted, reading
from sumgrad.workers.datasets.reading.npy_header import read_npy_header


def read_rows(path: Path, name: str | None = None) -> NDArray[Any]:
    """
    Args:
        name: of an array in a .npz file; None where it holds only one.

    Raises:
        DatasetError
    """
    size = file_size(path)
    with reading(path):
        if zipfile.is_zipfile(path):
            return _of_archive(path, name, size)
        if name is not None:
            raise DatasetError(f"{quoted(path)} is no .npz file, so it has no array {name!r}.")
        with path.open("rb") as stream:
            _check(stream, str(path), size)
            stream.seek(0)
            return _load(stream)


def _of_archive(path: Path, name: str | None, size: int) -> NDArray[Any]:
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.namelist() if entry.endswith(".npy")]
        names = [entry.removesuffix(".npy") for entry in entries]
        wanted = names[0] if name is None and len(names) == 1 else name
        if wanted not in names:
            found = ", ".join(repr(each)[:40] for each in names[:8])
            raise DatasetError(f"{quoted(path)} holds the arrays {found or '(none)'}; name one.")
        entry = archive.getinfo(f"{wanted}.npy")
        if entry.file_size > DEFLATE_LIMIT * min(entry.compress_size, size):
            raise DatasetError(f"{quoted(path)}: {wanted} declares more bytes than it can hold.")
        with archive.open(entry) as stream:
            _check(stream, f"{quoted(path)}: {wanted}", entry.file_size)
        with archive.open(entry) as stream:
            return _load(stream)


def _check(stream: IO[bytes], name: str, size: int) -> None:
    """Hold the header against the size before anything is allocated."""
    header = read_npy_header(stream, name)
    declared = header.length + math.prod(header.shape) * header.dtype.itemsize
    if declared != size:
        raise DatasetError(
            f"{name} declares shape {header.shape} of {header.dtype}, {declared} bytes with its "
            f"header, but has {size}; write it again with numpy.save."
        )


def _load(stream: IO[bytes]) -> NDArray[Any]:
    loaded: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return loaded
