"""The header of one .npy array, read without trusting it.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

import re
import struct
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from sumgrad.workers.datasets.dataset import DatasetError

_LIMIT = 10_000
"""Bytes of a header's text at most, as NumPy has it."""

_LENGTHS = {b"\x93NUMPY\x01\x00": struct.Struct("<H"), b"\x93NUMPY\x02\x00": struct.Struct("<I")}
"""How the length of the text is written that follows on these bytes."""

# The text is a Python dictionary of three items in any order. NumPy evaluates it with CPython's own
# parser, which fails now and then when several threads parse at once (seen with 3.11.7:
# "SystemError: AST constructor recursion depth mismatch"), and which knows more than these forms.
_DTYPE = r"[<>|=]?[biufcmMOSUV][0-9]{0,9}(?:\[[0-9a-zA-Z]{1,9}\])?"
_FIELD = rf"\('([^'\\]*)',\s*'({_DTYPE})'\)"
_SIZE = r"[0-9]{1,18}L?"  # Python 2 wrote the L
_SHAPE = rf"\((?:\s*{_SIZE}\s*,)*\s*(?:{_SIZE}\s*)?\)"
_VALUE = rf"""['"]{_DTYPE}['"]|\[[^\[\]]*\]|True|False|{_SHAPE}"""
_ITEM = rf"""\s*['"](\w+)['"]\s*:\s*({_VALUE})\s*"""
_TEXT = re.compile(rf"\s*\{{{_ITEM},{_ITEM},{_ITEM},?\s*\}}\s*")


@dataclass(frozen=True)
class NpyHeader:
    """What precedes an array's data, in `length` bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    length: int


def read_npy_header(stream: IO[bytes], name: str) -> NpyHeader:
    """The header at the start of the stream, whose position afterwards is that of the data.

    Allocates nothing that the header asks for. Raises DatasetError, naming `name`, where this is
    no such header, and where the array holds Python objects.
    """
    try:
        text, length = _read_text(stream)
        items = _items(text)
        dtype = _dtype(items["descr"])
        fortran_order = {"False": False, "True": True}[items["fortran_order"]]
        shape = tuple(int(size) for size in re.findall("[0-9]+", items["shape"]))
    except (KeyError, TypeError, ValueError, struct.error):
        raise DatasetError(
            f"{name} does not begin with a header of .npy format 1.0 or 2.0 of plain numbers; "
            "write it with numpy.savez."
        ) from None
    if dtype.hasobject:
        raise DatasetError(f"{name} holds Python objects; write numbers instead.")
    return NpyHeader(shape, dtype, fortran_order, length)


def _read_text(stream: IO[bytes]) -> tuple[str, int]:
    """The text, and how many bytes there are up to its end."""
    magic = stream.read(8)
    size = _LENGTHS[magic]
    [length] = size.unpack(stream.read(size.size))
    text = stream.read(min(length, _LIMIT))
    if len(text) < length:
        raise ValueError("it ends early, or goes on for too long")
    return text.decode("latin1"), len(magic) + size.size + length


def _items(text: str) -> dict[str, str]:
    """The values as they are written, by their keys."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ValueError("it is no dictionary of these values")
    parts = match.groups()
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _dtype(written: str) -> np.dtype[Any]:
    """Of one type, or of records whose fields have one each."""
    if plain := re.fullmatch(rf"['\"]({_DTYPE})['\"]", written):
        return np.dtype(plain[1])
    if fields := re.findall(_FIELD, written):
        return np.dtype(fields)
    raise ValueError("it is no type")
