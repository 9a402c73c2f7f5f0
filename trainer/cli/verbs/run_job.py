"""``sumgrad run-job``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sumgrad.trainer.cli.exit_codes import ExitCode, of_run
from sumgrad.trainer.cli.help import App
from sumgrad.trainer.cli.options import RUNS, Json, Overrides, SpecFile, StartFrom, Workers
from sumgrad.trainer.cli.progress import follow
from sumgrad.trainer.cli.run_output import print_run
from sumgrad.trainer.v1 import run_pb2

app = App()


@app.command("run-job", rich_help_panel=RUNS)
def run_job(
    spec: SpecFile,
    workers: Workers = None,
    overrides: Overrides = None,
    start_from: StartFrom = None,
    *,
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the weights and the snapshots.")
    ],
    json: Json = False,
) -> None:
    """Train without a service, in a Ray job.

    Submit the job with `ray job submit -- sumgrad run-job SPEC --output DIR`. Launched again with
    the same folder, an interrupted run goes on from its last snapshot.
    """
    from sumgrad.trainer.client import read_spec
    from sumgrad.trainer.runner import run_job as job
    from sumgrad.trainer.spec.parse import parse

    content = parse(read_spec(spec, workers, tuple(overrides or ()), start_from))
    ended = job.run_job(content, output, follow)
    print_run(ended, json)
    if ended.state == run_pb2.RUN_STATE_PAUSED:
        raise typer.Exit(ExitCode.INTERRUPTED)
    raise typer.Exit(of_run(ended))
