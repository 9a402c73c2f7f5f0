"""Weights that a runner sends because it does not share the run's directory."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import BinaryIO

from sumgrad.trainer.service.api.request_limits import InvalidRequestError
from sumgrad.trainer.spec.fit import MAX_PARAMETERS, describe_data
from sumgrad.trainer.spec.run_spec import RunSpec
from sumgrad.trainer.spec.violations import InvalidSpecError
from sumgrad.trainer.study.describe import FLOAT_BYTES
from sumgrad.trainer.v1 import runner_pb2

HEADER_BYTES = 4 * 2**20
"""More than the names and shapes of all layers take that a specification has room for."""


class WeightsDamagedError(ValueError):
    """What came is not the file that was announced."""


class WeightsNotStoredError(RuntimeError):
    """The file cannot be written here, now."""


def largest_file(spec: RunSpec) -> int:
    """Bytes that the file of a run's weights has at most."""
    try:
        parameters = spec.job().network(describe_data(spec)).size
    except (
        InvalidSpecError
    ):  # its data has gone since, and the run's work shall not be lost by that
        parameters = MAX_PARAMETERS
    return FLOAT_BYTES * parameters + HEADER_BYTES


async def receive(
    path: Path,
    file: runner_pb2.AnnouncedWeights,
    chunks: AsyncIterator[bytes],
    most: int,
    check: Callable[[], Awaitable[object]],
) -> None:
    """Write a file that is either whole, as announced and durable, or not there.

    Args:
        most: bytes that it may have.
        check: raises if the sender may not put it there any more.

    Raises:
        InvalidRequestError: it is too large.
        WeightsDamagedError, WeightsNotStoredError
    """
    if file.bytes > most:
        raise InvalidRequestError(
            "file.bytes", f"must be at most {most:,} for this network, got {file.bytes:,}"
        )
    # A name of its own: the sender may try again before the end of a try is noticed here.
    partial = path.with_name(f"incoming-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as written:
            await _copy(chunks, written, file.bytes, file.sha256)
            await asyncio.to_thread(os.fsync, written.fileno())
        await check()
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
