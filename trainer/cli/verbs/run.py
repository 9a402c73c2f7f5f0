"""``sumgrad run``."""

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
    State,
    Workers,
    submission,
)
from sumgrad.trainer.cli.own_service import own_service
from sumgrad.trainer.cli.service_client import (
    connect,
    finish,
    follow_to_end,
    is_running,
    run_to_end,
)

app = App()


@app.command(rich_help_panel=RUNS)
def run(
    spec: SpecFile,
    workers: Workers = None,
    overrides: Overrides = None,
    start_from: StartFrom = None,
    labels: Labels = None,
    priority: Priority = 0,
    request_id: RequestId = None,
    json: Json = False,
    address: Address = None,
    state: State = None,
) -> None:
    """Train: submit a run, follow it, print its figures.

    Uses the service at the address if there is one, and otherwise starts one for this run.
    """
    from sumgrad.trainer.client import read_spec
    from sumgrad.trainer.spec.parse import parse

    content = read_spec(spec, workers, tuple(overrides or ()), start_from)
    parsed = parse(content)
    wanted = submission(labels, priority, request_id)
    if is_running(address):
        with connect(address) as client:
            follow_to_end(client.submit(content, **wanted), json)

    from sumgrad.trainer.host import usable_cores
    from sumgrad.trainer.service.queue.scheduling import workers_limit
    from sumgrad.trainer.spec.fit import check_against_data

    # The service checks for itself, but starting one takes seconds.
    check_against_data(parsed, workers_limit(usable_cores()))
    with own_service(state) as client:
        ended = run_to_end(client, content, **wanted)
    finish(ended, json)
