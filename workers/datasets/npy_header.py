"""The header of one .npy array, read without trusting it."""

import io
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from workers.datasets.dataset import DatasetError

_LIMIT = 1 << 14  # NumPy itself refuses headers above 10,000 characters, but only once read


@dataclass(frozen=True)
class NpyHeader:
    """What precedes an array's data, in `length` bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    length: int


def read_npy_header(stream: IO[bytes], name: str) -> NpyHeader:
    """The header at the start of the stream, whose position afterwards is unspecified.

    Allocates nothing that the header asks for. Raises DatasetError, naming `name`, where this is
    no header of format 1.0 or 2.0, and where the array holds Python objects.
    """
    head = io.BytesIO(stream.read(_LIMIT))
    try:
        version = np.lib.format.read_magic(head)
        if version == (1, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(head)
        elif version == (2, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(head)
        else:
            raise ValueError(f"format {version} instead of 1.0 or 2.0")
        # int64 refuses a dimension that no file holds, and turns a bool into a number.
        shape = tuple(np.array(shape, np.int64).tolist())
    except Exception as error:  # NumPy evaluates the header as a literal: nearly all may come out
        raise DatasetError(
            f"{name} does not begin with a header of .npy format 1.0 or 2.0 "
            f"({type(error).__name__}); write it with numpy.savez."
        ) from error
    if dtype.hasobject:
        raise DatasetError(f"{name} holds Python objects; write numbers instead.")
    return NpyHeader(shape, dtype, fortran_order, length=head.tell())
