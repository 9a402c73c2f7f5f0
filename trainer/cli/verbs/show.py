"""``sumgrad show``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from sumgrad.trainer.cli.help import App
from sumgrad.trainer.cli.options import RUNS, Address, Json, RunId
from sumgrad.trainer.cli.output import print_json
from sumgrad.trainer.cli.run_ids import find_run
from sumgrad.trainer.cli.run_output import document, print_summary
from sumgrad.trainer.cli.service_client import connect
from sumgrad.trainer.v1 import run_pb2

app = App()


@app.command(rich_help_panel=RUNS)
def show(
    run_id: RunId,
    spec: Annotated[
        bool,
        typer.Option("--spec", help="Its specification in TOML, which can be submitted again."),
    ] = False,
    json: Json = False,
    address: Address = None,
) -> None:
    """Show one run; with --json, the digests of its weights after each epoch too."""
    with connect(address) as client:
        run_id = find_run(client, run_id)
        found = client.get(run_id)
        if spec:
            print_spec(found.spec, json)
        elif json:
            from sumgrad.trainer.record.verification import marks

            digests = [asdict(mark) for mark in marks(client.events(run_id))]
            print_json(document(found) | {"digests": digests})
        else:
            print_summary(found)


def print_spec(spec: run_pb2.RunSpec, json: bool) -> None:
    """A specification on stdout, as TOML or as JSON, with the defaults that it took."""
    from sumgrad.trainer.spec.messages import to_document
    from sumgrad.trainer.spec.toml import write_toml

    if json:
        print_json(to_document(spec))
    else:
        print(write_toml(to_document(spec)), end="")
