"""``sumgrad submit``."""

from __future__ import annotations

from sumgrad.trainer.cli.help import App
from sumgrad.trainer.cli.options import (
    RUNS,
    Address,
    Json,
    Labels,
    Overrides,
    Priority,
    RequestId,
    SpecFile,
    StartFrom,
    Workers,
    submission,
)
from sumgrad.trainer.cli.output import print_json, say
from sumgrad.trainer.cli.run_output import document
from sumgrad.trainer.cli.service_client import connect

app = App()


@app.command(rich_help_panel=RUNS)
def submit(
    spec: SpecFile,
    workers: Workers = None,
    overrides: Overrides = None,
    start_from: StartFrom = None,
    labels: Labels = None,
    priority: Priority = 0,
    request_id: RequestId = None,
    json: Json = False,
    address: Address = None,
) -> None:
    """Submit a run to the service and return."""
    with connect(address) as client:
        submitted = client.submit(
            spec,
            workers=workers,
            set=tuple(overrides or ()),
            start_from=start_from,
            **submission(labels, priority, request_id),
        )
    if json:
        print_json(document(submitted.info))
    else:
        print(submitted.id)
        say(f"follow it with: sumgrad watch {submitted.id}")
