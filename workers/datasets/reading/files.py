"""Reading untrusted files: every failure is a DatasetError, every size is bounded."""

import math
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from gzip import BadGzipFile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sumgrad.workers.datasets.dataset import DatasetError
from sumgrad.workers.host.allowed_paths import ANYWHERE, AllowedPaths

DEFLATE_LIMIT = 1032  # deflate cannot shrink data further: https://zlib.net/zlib_tech.html
BLOCK_BYTES = 1 << 20
MAX_PATH_BYTES = 4095  # PATH_MAX of Linux, without the NUL at its end

# What gzip, zipfile and numpy raise on damaged content. zipfile raises RuntimeError on an encrypted
# entry (NotImplementedError, on an unknown method, is one too), ValueError on a bad entry name.
_DAMAGE = (
    BadGzipFile,
    EOFError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def quoted(path: Path) -> str:
    """The path for a message: control characters and undecodable bytes are escaped."""
    return repr(str(path))


@contextmanager
def reading(path: Path, roots: AllowedPaths = ANYWHERE) -> Iterator[Path]:
    """The path to read from in the body, where it lies within the roots.

    Raises DatasetError for whatever that or reading raises.
    """
    try:
        with roots.pinned(path) as pinned:
            yield pinned
    except DatasetError:
        raise
    except _DAMAGE as error:
        found = str(error)[:200] or type(error).__name__
        raise DatasetError(
            f"{quoted(path)} is damaged ({found}); write or download it again."
        ) from error
    except OSError as error:
        raise DatasetError(
            f"{quoted(path)} cannot be read ({error.strerror or error}); "
            "check the path and its permissions."
        ) from error
    except MemoryError as error:
        raise DatasetError(
            f"{quoted(path)} does not fit into memory; use a smaller data set or a larger machine."
        ) from error


def checked_path(path: str | Path) -> Path:
    """The path, or DatasetError where it is empty or cannot be a file name."""
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError:
        name = b"\0"
    if not name or b"\0" in name:
        shown = repr(str(path)[:80])
        raise DatasetError(f"The path {shown} is not a file name; give the data set's path.")
    if len(name) > MAX_PATH_BYTES:
        raise DatasetError(
            f"The path {str(path)[:80]!r}... has {len(name)} bytes of at most {MAX_PATH_BYTES}; "
            "give the data set's path."
        )
    return Path(path)


def file_size(path: Path, roots: AllowedPaths = ANYWHERE) -> int:
    """Bytes in the regular file at `path`. Raises DatasetError for anything else there."""
    with reading(path, roots) as pinned:
        status = pinned.stat()
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
        raise DatasetError(f"{quoted(path)} is not a regular file; give the path of one.")
    return status.st_size


def blocks(
    read: Callable[[int], bytes], path: Path, count: int, dtype: np.dtype[Any]
) -> Iterator[NDArray[Any]]:
    """The next `count` items of a stream, which must end there, as 1-D arrays of bounded size.

    read: the stream's method, which returns fewer bytes only at the end.
    Raises DatasetError where the stream is shorter or longer, which is known, as is the checksum
    that gzip and zip keep, only after the last array: use nothing before the iterator is exhausted.
    """
    left = count * dtype.itemsize
    while left:
        wanted = min(BLOCK_BYTES, left)
        piece = read(wanted)
        if len(piece) < wanted:
            raise DatasetError(
                f"{quoted(path)} ends {left - len(piece)} bytes before the end that its header "
                "declares; write or download it again."
            )
        yield np.frombuffer(piece, dtype)
        left -= wanted
    if read(1):
        raise DatasetError(
            f"{quoted(path)} goes on after the {count} items that its header declares; "
            "write or download it again."
        )


def gather(
    pieces: Iterable[NDArray[Any]], shape: tuple[int, ...], dtype: DTypeLike
) -> NDArray[Any]:
    """One C-contiguous array of this shape from 1-D pieces that fill it exactly."""
    flat = np.empty(math.prod(shape), dtype)
    start = 0
    for piece in pieces:
        flat[start : start + len(piece)] = piece
        start += len(piece)
    return flat.reshape(shape)
