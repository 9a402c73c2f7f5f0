"""``sumgrad verify``: replay a run and compare the bits."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from sumgrad.trainer.cli.exit_codes import ExitCode
from sumgrad.trainer.cli.help import App
from sumgrad.trainer.cli.options import RUNS, Address, Json, RunId, State
from sumgrad.trainer.cli.output import Document, counted, print_field, print_json, say
from sumgrad.trainer.cli.own_service import own_service
from sumgrad.trainer.cli.run_ids import find_run
from sumgrad.trainer.cli.service_client import (
    connect,
    finish,
    is_running,
    run_to_end,
)
from sumgrad.trainer.record.enum_names import state_name
from sumgrad.trainer.v1 import run_pb2

if TYPE_CHECKING:
    from sumgrad.trainer.client import Client
    from sumgrad.trainer.record.verification import Comparison

app = App()


@app.command(rich_help_panel=RUNS)
def verify(
    run_id: RunId,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Workers, instead of the run's."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Replay at most this many steps.")
    ] = None,
    json: Json = False,
    address: Address = None,
    state: State = None,
) -> None:
    """Replay a run and compare the bits: the weights after each epoch, and at the end.

    The exit code is 5 if they differ. Uses the service at the address if there is one, and
    otherwise starts one for the replay, on the same state folder as `run`.
    """
    with connect(address) if is_running(address) else own_service(state) as client:
        _verify(client, find_run(client, run_id), workers, steps, json)


def _verify(
    client: Client, run_id: str, workers: int | None, steps: int | None, json: bool
) -> None:
    from sumgrad.trainer.record.verification import compare, marks, replay, replayed_steps

    found, recorded = client.get(run_id), marks(client.events(run_id))
    stop_after = replayed_steps(found, recorded, steps)
    again = run_to_end(client, replay(found, workers, stop_after))
    if again.state != run_pb2.RUN_STATE_SUCCEEDED:
        say(f"the replay {again.id} is {state_name(again.state)}, so nothing was compared")
        finish(again, json)
    comparison = compare(found, recorded, again, marks(client.events(again.id)))
    if json:
        print_json(verification_document(found, again, comparison))
    else:
        print_verification(found, again, comparison)
    raise typer.Exit(ExitCode.OK if comparison.same else ExitCode.OTHER_BITS)


def verification_document(run: run_pb2.Run, replay: run_pb2.Run, found: Comparison) -> Document:
    """A comparison as plain data."""
    first = None
    if found.first is not None:
        mark, other = found.first
        first = asdict(mark) | {"replayed_weights_digest": other or None}
    return {
        "run": run.id,
        "replay": replay.id,
        "workers": replay.spec.workers.count,
        "same": found.same,
        "compared": len(found.compared),
        "equal": found.equal,
        "first_difference": first,
        "receipt_differences": None if found.receipts is None else list(found.receipts),
        "not_bitwise_because": run.result.not_bitwise_because or None,
        "last_step": found.compared[-1].step,
        "weights_digest": found.compared[-1].weights_digest,
    }


def print_verification(run: run_pb2.Run, replay: run_pb2.Run, found: Comparison) -> None:
    """A comparison in a few lines on stdout."""
    last = found.compared[-1]
    epochs = sum(mark.epoch is not None for mark in found.compared)
    print_field("run", run.id)
    print_field("replay", f"{replay.id}, {replay.spec.workers.count} worker(s)")
    print_field(
        "compared",
        f"{counted(epochs, 'epoch')} and the final weights"
        if last.epoch is None
        else f"{counted(epochs, 'epoch')}, to step {last.step}",
    )
    if found.first is None:
        print_field("equal", "all, bit for bit")
        print_field("weights digest", last.weights_digest)
    else:
        mark, other = found.first
        print_field("equal", f"{found.equal} of {len(found.compared)}")
        print_field("first differs", str(mark))
        print_field("recorded", mark.weights_digest)
        print_field("replayed", other or "nothing at this step")
    if found.receipts is None:
        print_field("receipt", "the run has none, as it has no result")
    else:
        print_field("receipt", "; ".join(found.receipts) or "same code, data and fingerprint")
    if run.result.not_bitwise_because:
        print_field("not bitwise", run.result.not_bitwise_because)
