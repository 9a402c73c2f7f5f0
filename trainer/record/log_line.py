"""A log line as one line of JSON that is safe to print on a terminal.

Control characters and all other unprintable ones, such as those that reverse the direction of
writing, are escaped, whatever a process has printed.
"""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from sumgrad.trainer.record.enum_names import level_name, level_of
from sumgrad.trainer.v1 import run_pb2


def document(line: run_pb2.LogLine) -> dict[str, Any]:
    """A line as plain data; ``step`` only where one is known."""
    step = {"step": line.step} if line.HasField("step") else {}
    return {
        "sequence": line.sequence,
        "time": line.time.ToJsonString(),
        "source": line.source,
        "level": level_name(line.level),
        "message": line.message,
        "attempt": line.attempt,
        **step,
    }


def dump(content: dict[str, Any]) -> str:
    """JSON of printable characters only."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return text if text.isprintable() else "".join(map(_escaped, text))


def load(content: dict[str, Any]) -> run_pb2.LogLine:
    """The line of a document.

    Raises:
        KeyError, TypeError, ValueError: it is not one.
    """
    time = Timestamp()
    time.FromJsonString(content["time"])
    return run_pb2.LogLine(
        sequence=content["sequence"],
        time=time,
        source=content["source"],
        level=level_of(content["level"]),
        message=content["message"],
        attempt=content["attempt"],
        step=content.get("step"),
    )


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
