"""The weights of a run as a client receives them: whole and as they were sent, or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from trainer.v1 import service_pb2
from trainer.whole_file import whole_file


class DamagedDownloadError(RuntimeError):
    """What came is not what was sent."""


def receive(
    responses: Iterable[service_pb2.DownloadWeightsResponse], write: Callable[[bytes], object]
) -> service_pb2.WeightsFile:
    """Write what ``DownloadWeights`` sends; what it is.

    Raises:
        DamagedDownloadError: something is missing, or its checksum is wrong; what was written is
            of no use.
    """
    sha, size = hashlib.sha256(), 0
    file: service_pb2.WeightsFile | None = None
    checksum = ""
    for response in responses:
        match response.WhichOneof("kind"):
            case "file":
                file = response.file
            case "data":
                write(response.data)
                sha.update(response.data)
                size += len(response.data)
            case "sha256":
                checksum = response.sha256
    if file is None or size != file.size or checksum != sha.hexdigest():
        expected = 0 if file is None else file.size
        raise DamagedDownloadError(
            f"the download of the weights is damaged ({size} bytes of {expected}); try again"
        )
    return file


def save(
    responses: Iterable[service_pb2.DownloadWeightsResponse], output: Path
) -> service_pb2.WeightsFile:
    """Write the weights to a file, which is there whole and durable or as it was.

    Raises:
        DamagedDownloadError
        OSError: it cannot be written.
    """
    with whole_file(output) as target:
        return receive(responses, target.write)
