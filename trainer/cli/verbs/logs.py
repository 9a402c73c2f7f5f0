"""A run's log on stdout: one JSON object a line, or text; nothing of it acts on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from sumgrad.trainer.record.enum_names import level_name
from sumgrad.trainer.record.log_line import document, dump
from sumgrad.trainer.v1 import run_pb2, service_pb2


def print_logs(responses: Iterable[service_pb2.StreamLogsResponse], json: bool) -> None:
    """Print the lines as they come; on stderr, what is not there any more."""
    for response in responses:
        if response.missed:
            print(f"{response.missed} lines before these are not kept any more", file=sys.stderr)
        for line in response.lines:
            print(dump(document(line)) if json else text(line))
        sys.stdout.flush()


def text(line: run_pb2.LogLine) -> str:
    """For reading: a message of several lines goes on indented, so that none passes for another."""
    time = line.time.ToDatetime().isoformat(timespec="milliseconds")
    step = f" step {line.step}" if line.HasField("step") else ""
    head = f"{time}Z {printable(line.source)} {level_name(line.level)}{step}: "
    return head + "\n    ".join(map(printable, line.message.split("\n")))


def printable(text: str) -> str:
    """The text with every character that is not printable as Python writes it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
