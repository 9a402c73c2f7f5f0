"""``sumgrad pause``."""

from __future__ import annotations

from sumgrad.trainer.cli.help import App
from sumgrad.trainer.cli.options import RUNS, Address, Json, RunId
from sumgrad.trainer.cli.output import say
from sumgrad.trainer.cli.run_ids import find_run
from sumgrad.trainer.cli.run_output import print_run
from sumgrad.trainer.cli.service_client import connect
from sumgrad.trainer.record import states

app = App()


@app.command(rich_help_panel=RUNS)
def pause(run_id: RunId, json: Json = False, address: Address = None) -> None:
    """Have a run take a snapshot and stop there, and wait until it has.

    Warnings of the run are shown meanwhile, such as a full disk that lets it go on.
    """
    with connect(address) as client:
        run_id = find_run(client, run_id)
        client.pause(run_id)
        for response in client.watch(run_id):
            event = response.event
            if event.HasField("warning"):
                say(f"warning: {event.warning.message}")
            if (response.snapshot.run.state or event.state_change.state) in states.RESTING:
                break
        found = client.get(run_id)
    print_run(found, json)
