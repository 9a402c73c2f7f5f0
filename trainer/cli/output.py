"""What every verb prints with: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

Document = dict[str, Any]

WIDEST = 160
"""Columns of the widest table line, but for long names of runs."""


def say(text: str) -> None:
    """A line on stderr, in one write: Ctrl-C must not come between a line and its end."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def printable(text: str) -> str:
    """The text, in which every character that is not printable is escaped as in Python."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    """The same, but lines stay lines."""
    return "\n".join(map(printable, text.split("\n")))


def print_json(content: Document | list[Document]) -> None:
    """One JSON document on stdout."""
    print(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))


def print_field(label: str, value: object) -> None:
    """A labelled value on stdout; a value of several lines stays one of several lines."""
    print(f"{label:<15} {printable_lines(str(value))}")


def new_table() -> Table:
    """A table without lines."""
    from rich.table import Table

    return Table(box=None, pad_edge=False)


def print_uncut(table: Table) -> None:
    """A table on stdout; a narrow terminal wraps its lines, and a pipe has no width."""
    from rich.console import Console

    Console(width=max(Console().width, WIDEST)).print(table, markup=False)


def finite(value: float) -> float | None:
    """The number, or None for NaN and infinity, which JSON does not have."""
    return value if math.isfinite(value) else None


def duration(seconds: float) -> str:
    """83 seconds as ``0:01:23``."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def counted(count: int, what: str) -> str:
    """``1 epoch``, ``2 epochs``."""
    return f"{count} {what}{'' if count == 1 else 's'}"
