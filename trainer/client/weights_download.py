"""The weights of a run as a client receives them: whole and as they were sent, or not at all."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterable, Callable, Iterable
from pathlib import Path

from sumgrad.trainer.durable_file import durable_file, durable_file_on_loop
from sumgrad.trainer.v1 import service_pb2


class DamagedDownloadError(RuntimeError):
    """What came is not what was sent."""


class Download:
    """Writes what ``DownloadWeights`` sends, one response after the other."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._sha = hashlib.sha256()
        self._size = 0
        self._file: service_pb2.WeightsFile | None = None
        self._checksum = ""

    def take(self, response: service_pb2.DownloadWeightsResponse) -> None:
        """Raises what writing raises."""
        match response.WhichOneof("kind"):
            case "file":
                self._file = response.file
            case "data":
                self._write(response.data)
                self._sha.update(response.data)
                self._size += len(response.data)
            case "sha256":
                self._checksum = response.sha256

    def whole(self) -> service_pb2.WeightsFile:
        """What was downloaded, after the last response.

        Raises:
            DamagedDownloadError: something is missing, or its checksum is wrong; what was written
                is of no use.
        """
        file, size = self._file, self._size
        if file is None or size != file.size or self._checksum != self._sha.hexdigest():
            expected = 0 if file is None else file.size
            raise DamagedDownloadError(
                f"the download of the weights is damaged ({size} bytes of {expected}); try again"
            )
        return file


def receive(
    responses: Iterable[service_pb2.DownloadWeightsResponse], write: Callable[[bytes], object]
) -> service_pb2.WeightsFile:
    """Write what ``DownloadWeights`` sends; what it is. Raises DamagedDownloadError."""
    download = Download(write)
    for response in responses:
        download.take(response)
    return download.whole()


def save(
    responses: Iterable[service_pb2.DownloadWeightsResponse], output: Path
) -> service_pb2.WeightsFile:
    """Write the weights to a file, which is there whole and durable or as it was.

    Raises:
        DamagedDownloadError
        OSError: it cannot be written.
    """
    with durable_file(output) as target:
        return receive(responses, target.write)


async def save_on_loop(
    responses: AsyncIterable[service_pb2.DownloadWeightsResponse], output: Path
) -> service_pb2.WeightsFile:
    """The same on an event loop, which never waits for the disk."""
    async with durable_file_on_loop(output) as target:
        download = Download(target.write)
        async for response in responses:
            await asyncio.to_thread(download.take, response)
        return download.whole()
