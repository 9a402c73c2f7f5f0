"""``sumgrad delete``."""

from __future__ import annotations

from sumgrad.trainer.cli.help import App
from sumgrad.trainer.cli.options import RUNS, Address, RunId
from sumgrad.trainer.cli.output import say
from sumgrad.trainer.cli.run_ids import find_run
from sumgrad.trainer.cli.service_client import connect

app = App()


@app.command(rich_help_panel=RUNS)
def delete(run_id: RunId, address: Address = None) -> None:
    """Delete a run that has ended, with its weights and snapshots in the state folder."""
    with connect(address) as client:
        run_id = find_run(client, run_id)
        client.delete(run_id)
    say(f"{run_id} is deleted")
