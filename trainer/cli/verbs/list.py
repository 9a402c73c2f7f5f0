"""``sumgrad list``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from sumgrad.trainer.cli.help import App
from sumgrad.trainer.cli.options import RUNS, Address, Json, parse_labels
from sumgrad.trainer.cli.output import new_table, print_json, print_uncut, say
from sumgrad.trainer.cli.run_output import document, metric, parse_state, waiting
from sumgrad.trainer.cli.service_client import connect
from sumgrad.trainer.v1 import run_pb2

app = App()


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
    json: Json = False,
    address: Address = None,
) -> None:
    """List runs, newest first."""
    wanted = [parse_state(state) for state in states or ()]
    with connect(address) as client:
        runs = client.list(
            limit,
            states=wanted,
            name=name,
            labels=parse_labels(labels),
            oldest_first=oldest_first,
        )
    if json:
        print_json([document(found) for found in runs])
    elif runs or not (states or name or labels):
        print_table(runs)
    else:
        say("no run is like that")


def print_table(runs: Sequence[run_pb2.Run]) -> None:
    """One line a run on stdout."""
    if not runs:
        print("no runs yet; submit one with `sumgrad submit SPEC`")
        return
    table = new_table()
    headings = ["run", "name", "state", "steps", "E_in", "E_out", "metric", "created"]
    some_wait = any(run.HasField("queue") for run in runs)
    for heading in [*headings, "waits"] if some_wait else headings:
        table.add_column(heading, no_wrap=True)
    for run in runs:
        found = document(run)
        table.add_row(
            found["id"],
            found["name"],
            found["state"],
            str(found["steps"]),
            _number(found["e_in"]),
            _number(found["e_out"]),
            metric(run.result, ".4f"),
            found["created"],
            *([waiting(run.queue) if run.HasField("queue") else ""] if some_wait else []),
        )
    print_uncut(table)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
