"""``sumgrad logs``: one JSON object a line, or text; control characters are escaped."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Annotated

import typer

from sumgrad.trainer.cli.help import App
from sumgrad.trainer.cli.options import RUNS, Address, RunId
from sumgrad.trainer.cli.output import printable, say
from sumgrad.trainer.cli.run_ids import find_run
from sumgrad.trainer.cli.service_client import connect
from sumgrad.trainer.record.enum_names import level_name
from sumgrad.trainer.record.log_line import document, dump
from sumgrad.trainer.v1 import run_pb2, service_pb2

app = App()


@app.command(rich_help_panel=RUNS)
def logs(
    run_id: RunId,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the run ends.")] = False,
    sources: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            metavar="NAME",
            help="Of service, runner, server or a worker, like worker-0. Repeatable.",
        ),
    ] = None,
    after: Annotated[
        int, typer.Option(metavar="N", min=0, help="Lines after sequence number N.")
    ] = 0,
    json: Annotated[
        bool, typer.Option("--json/--text", help="One JSON object a line, or text for reading.")
    ] = True,
    address: Address = None,
) -> None:
    """Print what the processes of a run have logged. Ctrl-C leaves the run going."""
    with connect(address) as client:
        run_id = find_run(client, run_id)
        lines = client.logs(run_id, follow=follow, after=after, sources=tuple(sources or ()))
        print_logs(lines, json)


def print_logs(responses: Iterable[service_pb2.StreamLogsResponse], json: bool) -> None:
    """Print the lines as they come; on stderr, how many older ones are lost."""
    for response in responses:
        if response.missed:
            say(f"{response.missed} lines before these are not kept any more")
        for line in response.lines:
            print(dump(document(line)) if json else text(line))
        sys.stdout.flush()


def text(line: run_pb2.LogLine) -> str:
    """For reading: a message of several lines goes on indented, so that none passes for another."""
    time = line.time.ToDatetime().isoformat(timespec="milliseconds")
    step = f" step {line.step}" if line.HasField("step") else ""
    head = f"{time}Z {printable(line.source)} {level_name(line.level)}{step}: "
    return head + "\n    ".join(map(printable, line.message.split("\n")))
