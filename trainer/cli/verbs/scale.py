"""``sumgrad scale``."""

from __future__ import annotations

from typing import Annotated

import typer

from sumgrad.trainer.cli.help import App
from sumgrad.trainer.cli.options import RUNS, Address, Json, RunId
from sumgrad.trainer.cli.run_ids import find_run
from sumgrad.trainer.cli.run_output import print_run
from sumgrad.trainer.cli.service_client import connect

app = App()


@app.command(rich_help_panel=RUNS)
def scale(
    run_id: RunId,
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, help="Workers that the run shall have.")
    ],
    json: Json = False,
    address: Address = None,
) -> None:
    """Give a run another number of workers, while it runs; its result stays the same."""
    with connect(address) as client:
        run_id = find_run(client, run_id)
        found = client.scale(run_id, workers)
    print_run(found, json)
