"""What this process prints, read back from the file that its output goes to.

Ray has each of its processes print to a file of its own. Reading that file, instead of taking the
output's place, also finds what libraries in C print, and takes nothing away from Ray's own logs.
"""

from __future__ import annotations

import os
import re
import stat

MAX_READ_BYTES = 1 << 16
"""Read at once; of more than this, the newest are read and the others are counted."""

COLOUR = re.compile(r"\x1b\[[0-9;]*m")

_RAYS_OWN = re.compile(r":(job_id|task_name|actor_name):.*")


class CapturedOutput:
    """The lines that are printed from now on, without colours; none where the output is no file.

    Args:
        descriptor: 1 for stdout, 2 for stderr.

    Attributes:
        file: identity of the file, or None.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = None
        self.file: tuple[int, int] | None = None
        self._position = 0
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            self._descriptor = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
            self._position = status.st_size
            self.file = (status.st_dev, status.st_ino)

    def read(self) -> tuple[list[str], int]:
        """The whole lines since the last time, and how many were too many to read."""
        if self._descriptor is None:
            return [], 0
        skipped = self._skip(os.fstat(self._descriptor).st_size - MAX_READ_BYTES)
        text = os.pread(self._descriptor, MAX_READ_BYTES, self._position)
        end = text.rfind(b"\n") + 1
        if end == 0 and len(text) == MAX_READ_BYTES:  # a line without an end in sight
            end = len(text)
        self._position += end
        found = COLOUR.sub("", text[:end].decode(errors="replace")).split("\n")
        return [line for line in found if line.strip() and not _RAYS_OWN.fullmatch(line)], skipped

    def _skip(self, position: int) -> int:
        """Leave out what comes before this position; how many lines that are."""
        skipped = 0
        while self._position < position:
            assert self._descriptor is not None
            piece = os.pread(
                self._descriptor, min(MAX_READ_BYTES, position - self._position), self._position
            )
            if not piece:
                break
            self._position += len(piece)
            skipped += piece.count(b"\n")
        return skipped

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
