"""The log of one run on disk: JSON lines in ``log.jsonl``, and the file before it.

Together they take at most twice FILE_BYTES; older lines are gone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from sumgrad.trainer.record.log_line import document, dump, load
from sumgrad.trainer.v1 import run_pb2

FILE_BYTES = 8 * 2**20
READ_BYTES = 2**18
MAX_MESSAGE_CHARACTERS = 16_000
MAX_SOURCE_CHARACTERS = 64

CURRENT, BEFORE = "log.jsonl", "log.1.jsonl"


class LogFile:
    """Appends lines, each once; first cuts off a line that a crash left incomplete.

    One process at a time may write, and any number may read.

    Raises:
        OSError: the files cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sequence = 0
        # The last line that the runner had numbered: its attempt and its number.
        self._last = (0, 0)
        _cut_off_torn_line(folder / CURRENT)
        for name in (BEFORE, CURRENT):
            for entry in _entries(folder / name):
                self._sequence = max(self._sequence, entry["sequence"])
                if "number" in entry:
                    self._last = max(self._last, (entry["attempt"], entry["number"]))

    def append(self, lines: Sequence[run_pb2.LogLine]) -> None:
        """Append lines; skip lines of the runner that are stored already.

        Args:
            lines: where ``sequence`` is not 0, it is the runner's number within the attempt.

        Raises:
            OSError: they cannot be written; the file is unchanged.
        """
        last, sequence, texts = self._last, self._sequence, []
        for line in lines:
            if line.sequence:
                number = (line.attempt, line.sequence)
                if number <= last:
                    continue
                last = number
            sequence += 1
            texts.append(_text(line, sequence))
        if texts:
            self._write("".join(texts).encode())
            self._last, self._sequence = last, sequence

    def _write(self, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / CURRENT
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if size and size + len(content) > FILE_BYTES:
                path.replace(self._folder / BEFORE)
                os.close(descriptor)
                descriptor, size = os.open(path, flags, 0o600), 0
            try:
                left = memoryview(content)
                while left:
                    left = left[os.write(descriptor, left) :]
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)


class LogReader:
    """Reads a run's log from a line on, while it is written and its files are rotated.

    Attributes:
        sequence: of the last line that was read.
        missed: lines after ``after`` that were deleted before they could be read.
    """

    def __init__(self, folder: Path, after: int) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self.sequence = after
        self.missed = 0

    def read(self) -> list[run_pb2.LogLine]:
        """The next lines, about READ_BYTES of them; none at the current end.

        Raises:
            OSError: the file cannot be read.
        """
        while True:
            lines = self._next_lines()
            if lines or not self._open_next():
                return lines

    def _next_lines(self) -> list[run_pb2.LogLine]:
        """The next new lines of the file that is open, if it has any."""
        while self._file is not None:
            start = self._file.tell()
            content = self._file.read(READ_BYTES) + self._file.readline()
            whole = content[: content.rfind(b"\n") + 1]
            self._file.seek(start + len(whole))
            if not whole:
                break
            if lines := list(self._new(whole)):
                return lines
        return []

    def _new(self, content: bytes) -> Iterator[run_pb2.LogLine]:
        for text in content.splitlines():
            entry = _parsed(text)
            if entry is None or entry["sequence"] <= self.sequence:
                continue
            self.missed += entry["sequence"] - self.sequence - 1
            self.sequence = entry["sequence"]
            yield load(entry)

    def _open_next(self) -> bool:
        """Open the next file; False if there is none."""
        for name in (CURRENT,) if self._is_before() else (BEFORE, CURRENT):
            try:
                file = (self._folder / name).open("rb")
            except FileNotFoundError:
                continue
            if self._file is not None and os.path.sameopenfile(file.fileno(), self._file.fileno()):
                file.close()
                return False
            self.close()
            self._file = file
            return True
        return False

    def _is_before(self) -> bool:
        """Whether the open file has become the one before the current one, or is current."""
        if self._file is None:
            return False
        ours = os.fstat(self._file.fileno())
        for name in (BEFORE, CURRENT):
            try:
                if os.path.samestat(ours, (self._folder / name).stat()):
                    return True
            except FileNotFoundError:
                continue
        return False

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _text(line: run_pb2.LogLine, sequence: int) -> str:
    """A line's JSON, with source and message cut to their limits."""
    entry = document(line)
    entry["source"] = line.source[:MAX_SOURCE_CHARACTERS]
    entry["message"] = line.message[:MAX_MESSAGE_CHARACTERS]
    entry["sequence"] = sequence
    if line.sequence:
        entry["number"] = line.sequence
    return dump(entry) + "\n"


def _parsed(text: bytes) -> dict[str, Any] | None:
    """An entry of the file; None for a line in another format."""
    try:
        entry = json.loads(text)
        load(entry)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return entry if isinstance(entry, dict) else None


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            for text in file:
                if (entry := _parsed(text)) is not None:
                    yield entry
    except FileNotFoundError:
        return


def _cut_off_torn_line(path: Path) -> None:
    try:
        with path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            end = size
            while end > 0:
                start = max(0, end - READ_BYTES)
                file.seek(start)
                found = file.read(end - start).rfind(b"\n")
                if found >= 0:
                    end = start + found + 1
                    break
                end = start
            if end < size:
                file.truncate(end)
    except FileNotFoundError:
        return
