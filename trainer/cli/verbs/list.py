"""``sumgrad list``: runs in a table that fits its terminal."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, NamedTuple

import typer

from sumgrad.trainer.cli.help import App
from sumgrad.trainer.cli.options import RUNS, Address, Json, parse_labels
from sumgrad.trainer.cli.output import Document, print_json, say
from sumgrad.trainer.cli.run_output import document, metric, metric_labels, parse_state, waiting
from sumgrad.trainer.cli.service_client import connect
from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.v1 import run_pb2

app = App()


class Column(NamedTuple):
    """A column of the table.

    Attributes:
        heading: above it.
        text: what a run shows in it.
        key: what runs are sorted by, None for those that have no value; by default the document's
            field of the column's name.
    """

    heading: str
    text: Callable[[run_pb2.Run, Document], str]
    key: Callable[[Document], Any] | None = None


def _field(name: str, heading: str | None = None) -> Column:
    """A column of a field of the document."""
    return Column(heading or name, lambda _, found: "" if found[name] is None else str(found[name]))


def _number(name: str, heading: str) -> Column:
    return Column(heading, lambda _, found: "" if found[name] is None else f"{found[name]:.4f}")


def _metric(found: Document) -> float | None:
    return next((found[name] for name in metric_labels() if found[name] is not None), None)


COLUMNS = {
    "id": _field("id", "run"),
    "name": _field("name"),
    "state": _field("state"),
    "steps": _field("steps"),
    "epochs": _field("epochs"),
    "e_in": _number("e_in", "E_in"),
    "e_out": _number("e_out", "E_out"),
    "metric": Column("metric", lambda run, _: metric(run.result, ".4f"), _metric),
    "best_epoch": _field("best_epoch", "best epoch"),
    "workers": _field("workers"),
    "priority": _field("priority"),
    "owner": _field("owner"),
    "labels": Column(
        "labels",
        lambda _, found: ",".join(f"{k}={v}" for k, v in sorted(found["labels"].items())),
        lambda found: sorted(found["labels"].items()),
    ),
    "created": _field("created"),
    "started": _field("started"),
    "ended": _field("ended"),
    "waits": Column(
        "waits",
        lambda run, _: waiting(run.queue) if run.HasField("queue") else "",
        lambda found: found["queue"] and found["queue"]["position"],
    ),
}
DEFAULT_COLUMNS = ("id", "name", "state", "steps", "e_in", "e_out", "metric", "created", "waits")
DROPPED_COLUMNS = ("e_in", "created", "steps", "metric")
"""Left out of the default columns, in this order, until a line fits the terminal."""

CUT_COLUMNS = {"name": 16, "labels": 12, "waits": 12}
"""Cut, in this order, to these widths at the least, before a column is left out."""

GAP = "  "


@app.command("list", rich_help_panel=RUNS)
def list_runs(
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Show at most this many.")] = 50,
    states: Annotated[
        list[str] | None,
        typer.Option(
            "--state", metavar="STATE", help="Those in this state, like running. Repeatable."
        ),
    ] = None,
    name: Annotated[
        str,
        typer.Option(metavar="NAME", help="Those of this name; 'digits*' finds all that begin so."),
    ] = "",
    labels: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="KEY=VALUE", help="Those with this label. Repeatable."),
    ] = None,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="The oldest first.")] = False,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Sort all runs that match, smallest value first; -COLUMN for the largest.",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN,…",
            help=f"Show these. There are {', '.join(COLUMNS)}.",
        ),
    ] = None,
    json: Json = False,
    address: Address = None,
) -> None:
    """List runs, newest first."""
    wanted = [parse_state(state) for state in states or ()]
    shown = None if columns is None else _known("--columns", columns.split(","))
    if sort is not None:
        _known("--sort", [sort.removeprefix("-")])
    with connect(address) as client:
        runs = client.list(
            limit if sort is None else sys.maxsize,
            states=wanted,
            name=name,
            labels=parse_labels(labels),
            oldest_first=oldest_first,
        )
    if sort is not None:
        runs = sorted_runs(runs, sort)[:limit]
    if json:
        print_json([document(found) for found in runs])
    elif runs or not (states or name or labels):
        print_table(runs, shown)
    else:
        say("no run is like that")


def _known(option: str, names: Sequence[str]) -> Sequence[str]:
    """The names, if all are columns. Raises UsageError."""
    for name in names:
        if name not in COLUMNS:
            raise UsageError(
                f"{option}: there is no column {name!r}; there are {', '.join(COLUMNS)}"
            )
    return names


def sorted_runs(runs: Iterable[run_pb2.Run], sort: str) -> list[run_pb2.Run]:
    """Runs by a column, those without a value last; equal ones stay in their order."""
    name = sort.removeprefix("-")
    key = COLUMNS[name].key or (lambda found: found[name])
    keyed = [(key(document(run)), run) for run in runs]
    some = sorted(
        (pair for pair in keyed if pair[0] is not None),
        key=lambda pair: pair[0],
        reverse=sort.startswith("-"),
    )
    return [run for _, run in some] + [run for value, run in keyed if value is None]


def print_table(runs: Sequence[run_pb2.Run], columns: Sequence[str] | None = None) -> None:
    """One line a run on stdout, with these columns or as many of the default ones as fit."""
    if not runs:
        print("no runs yet; submit one with `sumgrad submit SPEC`")
        return
    names = list(columns or DEFAULT_COLUMNS)
    if columns is None and not any(run.HasField("queue") for run in runs):
        names.remove("waits")
    documents = [document(run) for run in runs]
    texts = {
        name: [
            COLUMNS[name].heading,
            *(COLUMNS[name].text(run, found) for run, found in zip(runs, documents, strict=True)),
        ]
        for name in names
    }
    for line in fitted(texts, _width(), () if columns else DROPPED_COLUMNS):
        print(line)


def fitted(texts: dict[str, list[str]], width: int | None, droppable: Sequence[str]) -> list[str]:
    """The lines of a table whose columns have these texts, within a width where there is one."""
    from rich.cells import cell_len, set_cell_size

    widths = {name: max(map(cell_len, column)) for name, column in texts.items()}
    least = {name: min(size, CUT_COLUMNS.get(name, size)) for name, size in widths.items()}

    def excess(sizes: dict[str, int]) -> int:
        return sum(sizes[name] for name in widths) + len(GAP) * (len(widths) - 1) - room

    room = sys.maxsize if width is None else width
    for name in droppable:
        if name in widths and excess(least) > 0:
            del widths[name]
    for name in CUT_COLUMNS:
        if name in widths and excess(widths) > 0:
            widths[name] = max(least[name], widths[name] - excess(widths))

    def cell(text: str, size: int) -> str:
        return (
            set_cell_size(text, size)
            if cell_len(text) <= size
            else set_cell_size(text, size - 1) + "…"
        )

    rows = zip(*(texts[name] for name in widths), strict=True)
    return [GAP.join(map(cell, row, widths.values())).rstrip() for row in rows]


def _width() -> int | None:
    """Columns of the terminal, or of the variable COLUMNS; None in a pipe, which has no width."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS"):
        return shutil.get_terminal_size().columns
    return None
