"""A file that is replaced as a whole and durably: write aside, fsync, rename, fsync the folder."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import IO

_PARTIAL = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.partial")


@contextmanager
def durable_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that takes its name when the body ends without an error.

    Until then, and after an error, ``path`` is as it was before. Each partial file has a name of
    its own, so writers of the same path do not disturb each other; the last one wins. A process
    that is killed in the body leaves its partial file behind, which ``name_of_partial`` recognises.

    Raises:
        OSError: the file cannot be written. If only the last step failed, the file has its name
            already, but may lose it with the next loss of power.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with _created(partial) as file:
            yield file
            sync_file(file)
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    sync_folder(path.parent)


@asynccontextmanager
async def durable_file_on_loop(path: Path) -> AsyncIterator[IO[bytes]]:
    """Open a durable file without blocking the event loop; the body must not block it either.

    Raises:
        OSError: see ``durable_file``.
    """
    file = durable_file(path)
    target = await asyncio.to_thread(file.__enter__)
    try:
        yield target
    except BaseException as error:
        await asyncio.to_thread(file.__exit__, type(error), error, error.__traceback__)
        raise
    await asyncio.to_thread(file.__exit__, None, None, None)


def name_of_partial(name: str) -> str | None:
    """The name that a partial file was to take; None if ``name`` is no partial file's."""
    found = _PARTIAL.fullmatch(name)
    return found and found["name"]


def sync_file(file: IO[bytes]) -> None:
    """Have everything written to the file so far survive a loss of power."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have the names in the folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _created(path: Path) -> IO[bytes]:
    """Create and open a file that does not exist yet; a link in its place is not followed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o666), "wb")
