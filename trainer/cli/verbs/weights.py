"""``sumgrad weights``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sumgrad.trainer.cli.help import App
from sumgrad.trainer.cli.options import RUNS, Address, RunId
from sumgrad.trainer.cli.output import say
from sumgrad.trainer.cli.run_ids import find_run
from sumgrad.trainer.cli.service_client import connect
from sumgrad.trainer.errors import UsageError

app = App()


@app.command(rich_help_panel=RUNS)
def weights(
    run_id: RunId,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to write them.  [default: RUN.safetensors]"),
    ] = None,
    step: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Of the snapshot of step N.  [default: newest]"),
    ] = None,
    address: Address = None,
) -> None:
    """Download the weights of a run, or of its newest snapshot, as a safetensors file."""
    with connect(address) as client:
        run_id = find_run(client, run_id)
        path = output or Path(f"{run_id}.safetensors")
        try:
            found = client.save_weights(run_id, path, step)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    origin = f"the snapshot of step {found.step}" if found.snapshot else f"step {found.step}"
    say(f"weights of {origin}, {found.size} bytes")
    print(path)
