"""Weights that a runner sends because it does not share the run's directory."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO


class WeightsDamagedError(ValueError):
    """What came is not the file that was announced."""


class WeightsNotStoredError(RuntimeError):
    """The file cannot be written here, now."""


async def receive(path: Path, chunks: AsyncIterator[bytes], size: int, sha256: bytes) -> None:
    """Write a file that is either whole, as announced and durable, or not there.

    Args:
        size, sha256: of the whole file.

    Raises:
        WeightsDamagedError, WeightsNotStoredError
    """
    partial = path.with_suffix(".incoming")
    try:
        with partial.open("wb") as file:
            await _copy(chunks, file, size, sha256)
            await asyncio.to_thread(os.fsync, file.fileno())
        partial.replace(path)
    except OSError as error:
        raise WeightsNotStoredError(
            f"the weights cannot be written to {path}: {error.strerror}"
        ) from None
    finally:
        partial.unlink(missing_ok=True)


async def _copy(chunks: AsyncIterator[bytes], file: BinaryIO, size: int, sha256: bytes) -> None:
    found, received = hashlib.sha256(), 0
    async for chunk in chunks:
        received += len(chunk)
        if received > size:
            break
        found.update(chunk)
        await asyncio.to_thread(file.write, chunk)
    if received != size or found.digest() != sha256:
        raise WeightsDamagedError(
            f"the weights did not come as they were announced, {size} bytes with SHA-256 "
            f"{sha256.hex()[:16]}…; send them again"
        )
    file.flush()
