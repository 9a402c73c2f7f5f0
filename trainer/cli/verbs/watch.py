"""``sumgrad watch``."""

from __future__ import annotations

from sumgrad.trainer.cli.help import App
from sumgrad.trainer.cli.options import RUNS, Address, Json, RunId
from sumgrad.trainer.cli.run_ids import find_run
from sumgrad.trainer.cli.service_client import connect, follow_to_end

app = App()


@app.command(rich_help_panel=RUNS)
def watch(run_id: RunId, json: Json = False, address: Address = None) -> None:
    """Follow a run to its end. Ctrl-C leaves the run going."""
    with connect(address) as client:
        follow_to_end(client.run(find_run(client, run_id)), json)
