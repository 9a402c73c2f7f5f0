"""A folder of an object store, through fsspec; the only module that knows fsspec."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import fsspec

MAX_PUT_BYTES = 5 * 2**30
"""Bytes that S3 takes in one request. With several requests, a process that is killed would leave
parts of an object behind that no listing shows and that cost money."""


class ObjectFolder:
    """A Folder at an address such as ``s3://bucket/folder``. Credentials come from where fsspec's
    implementation looks for them.

    An object is put as a whole, so writing it takes its size in memory once more.

    Raises:
        ImportError: if the package for such addresses is not installed.
        ValueError: if there is none.
    """

    def __init__(self, location: str) -> None:
        self._files, self._root = fsspec.url_to_fs(location)
        protocols = self._files.protocol
        self._is_s3 = "s3" in ((protocols,) if isinstance(protocols, str) else protocols)

    def place(self, name: str) -> str:
        # Not the location: an address may hold a password, and this is shown to people.
        return str(self._files.unstrip_protocol(self._path(name)))

    def names(self) -> list[str]:
        self._files.invalidate_cache()
        with _os_errors():
            try:
                paths = self._files.ls(self._root, detail=False)
            except FileNotFoundError:
                return []
        return [path.rpartition("/")[2] for path in paths]

    def size(self, name: str) -> int:
        self._files.invalidate_cache()
        with _os_errors():
            return int(self._files.info(self._path(name))["size"])

    def read(self, name: str) -> bytes:
        with _os_errors():
            return bytes(self._files.cat_file(self._path(name)))

    def write(self, name: str, pieces: Sequence[memoryview]) -> None:
        content, at_once = b"".join(pieces), {}
        if self._is_s3:
            if len(content) >= MAX_PUT_BYTES:
                raise OSError(errno.EFBIG, f"S3 takes {MAX_PUT_BYTES} bytes at once")
            at_once = {"chunksize": MAX_PUT_BYTES}
        with _os_errors():
            self._files.pipe_file(self._path(name), content, **at_once)

    def delete(self, names: Sequence[str]) -> None:
        for name in names:
            with _os_errors(), suppress(FileNotFoundError):
                self._files.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


@contextmanager
def _os_errors() -> Iterator[None]:
    """Some implementations let errors of their libraries through, which are of any type."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
