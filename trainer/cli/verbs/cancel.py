"""``sumgrad cancel``."""

from __future__ import annotations

from sumgrad.trainer.cli.help import App
from sumgrad.trainer.cli.options import RUNS, Address, Json, RunId
from sumgrad.trainer.cli.run_ids import find_run
from sumgrad.trainer.cli.run_output import print_run
from sumgrad.trainer.cli.service_client import connect

app = App()


@app.command(rich_help_panel=RUNS)
def cancel(run_id: RunId, json: Json = False, address: Address = None) -> None:
    """Stop a run, and wait until it has stopped."""
    with connect(address) as client:
        run_id = find_run(client, run_id)
        client.cancel(run_id)
        ended = client.wait(run_id)
    print_run(ended, json)
