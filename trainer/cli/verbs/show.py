"""``sumgrad show``."""

from __future__ import annotations

from dataclasses import asdict

from sumgrad.trainer.cli.help import App
from sumgrad.trainer.cli.options import RUNS, Address, Json, RunId
from sumgrad.trainer.cli.output import print_json
from sumgrad.trainer.cli.run_ids import find_run
from sumgrad.trainer.cli.run_output import document, print_summary
from sumgrad.trainer.cli.service_client import connect

app = App()


@app.command(rich_help_panel=RUNS)
def show(run_id: RunId, json: Json = False, address: Address = None) -> None:
    """Show one run; with --json, the digests of its weights after each epoch too."""
    with connect(address) as client:
        run_id = find_run(client, run_id)
        found = client.get(run_id)
        if json:
            from sumgrad.trainer.record.verification import marks

            digests = [asdict(mark) for mark in marks(client.events(run_id))]
    if json:
        print_json(document(found) | {"digests": digests})
    else:
        print_summary(found)
