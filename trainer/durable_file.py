"""A file that is there whole and durable, or as it was before."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write into, which takes its name when the body has ended without an error.

    Raises:
        OSError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@asynccontextmanager
async def whole_file_on_loop(path: Path) -> AsyncIterator[IO[bytes]]:
    """The same for an event loop, which does not wait for the disk; writing is up to the body."""
    file = whole_file(path)
    target = await asyncio.to_thread(file.__enter__)
    try:
        yield target
    except BaseException as error:
        await asyncio.to_thread(file.__exit__, type(error), error, error.__traceback__)
        raise
    await asyncio.to_thread(file.__exit__, None, None, None)
