"""The weights of a run as a client receives them, checked for being whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from sumgrad.trainer.v1 import service_pb2


class DamagedDownloadError(RuntimeError):
    """The weights that arrived are not those that were sent."""


class WeightsDownload:
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
