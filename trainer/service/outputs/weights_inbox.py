"""Receives the weights of a runner that does not share the run's folder."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import IO

from sumgrad.trainer.durable_file import durable_file_on_loop, sync_file
from sumgrad.trainer.service.api.request_limits import InvalidRequestError
from sumgrad.trainer.spec.fit import MAX_PARAMETERS, describe_data
from sumgrad.trainer.spec.run_spec import RunSpec
from sumgrad.trainer.spec.violations import InvalidSpecError
from sumgrad.trainer.study.describe import FLOAT_BYTES
from sumgrad.trainer.v1 import runner_pb2

HEADER_BYTES = 4 * 2**20
"""More than the names and shapes of the layers of the largest specification take."""


class WeightsDamagedError(ValueError):
    """The bytes that came are not the file that was announced."""


class WeightsNotStoredError(RuntimeError):
    """The file cannot be written now."""


def largest_file(spec: RunSpec) -> int:
    """The most bytes that the file of a run's weights may have."""
    try:
        parameters = spec.job().network(describe_data(spec)).size
    except InvalidSpecError:  # its data has gone since; the run's work must not be lost by that
        parameters = MAX_PARAMETERS
    return FLOAT_BYTES * parameters + HEADER_BYTES


async def receive(
    path: Path,
    file: runner_pb2.AnnouncedWeights,
    chunks: AsyncIterator[bytes],
    most: int,
    check: Callable[[], Awaitable[object]],
) -> None:
    """Write the file durably and whole as announced, or leave what was there.

    Args:
        most: bytes that it may have.
        check: raises if the sender is no longer the run's runner.

    Raises:
        InvalidRequestError: it is too large.
        WeightsDamagedError, WeightsNotStoredError
    """
    if file.bytes > most:
        raise InvalidRequestError(
            "file.bytes", f"must be at most {most:,} for this network, got {file.bytes:,}"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        async with durable_file_on_loop(path) as target:
            await _copy(chunks, target, file.bytes, file.sha256)
            # The disk may be slow: sync before the check, so that the file appears right after it.
            await asyncio.to_thread(sync_file, target)
            await check()
    except OSError as error:
        raise WeightsNotStoredError(
            f"the weights cannot be written to {path}: {error.strerror}"
        ) from None


async def _copy(chunks: AsyncIterator[bytes], file: IO[bytes], size: int, sha256: bytes) -> None:
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
