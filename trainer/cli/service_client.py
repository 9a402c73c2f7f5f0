"""A client of the service that a verb talks to, and runs followed to their end.

The client is imported where it is made, so that help and completion are fast.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from sumgrad.trainer.addresses import DEFAULT_ADDRESS, host_and_port
from sumgrad.trainer.cli.exit_codes import ExitCode, of_run
from sumgrad.trainer.cli.output import say
from sumgrad.trainer.cli.progress import follow
from sumgrad.trainer.cli.run_output import print_run
from sumgrad.trainer.record.enum_names import state_name

if TYPE_CHECKING:
    from sumgrad.trainer.client import Client, RunHandle
    from sumgrad.trainer.v1 import run_pb2


def connect(address: str | None) -> Client:
    """A client of the service at the address, or at the default one. Raises UsageError."""
    from sumgrad.trainer.client import Client

    host_and_port(address or DEFAULT_ADDRESS)
    return Client(address or DEFAULT_ADDRESS)


def is_running(address: str | None) -> bool:
    """Whether a verb uses a service that runs: one that was named, or answers by default."""
    return address is not None or _reachable(DEFAULT_ADDRESS)


def _reachable(address: str) -> bool:
    with connect(address) as client:
        return client.reachable()


def run_to_end(client: Client, content: dict[str, Any], **submission: Any) -> run_pb2.Run:
    """Submit and follow a run that depends on this command: Ctrl-C cancels it."""
    from sumgrad.trainer.client import ClientError

    submitted = client.submit(content, **submission)
    try:
        follow(submitted.watch())
    except KeyboardInterrupt:
        say("cancelling the run")
        with contextlib.suppress(ClientError):
            submitted.cancel()
            say(f"{submitted.id} is {state_name(submitted.wait().state)}")
        raise
    return submitted.refresh()


def follow_to_end(run: RunHandle, json: bool) -> NoReturn:
    """Follow a run that goes on without this command, and leave with its exit code."""
    try:
        follow(run.watch())
    except KeyboardInterrupt:
        say(f"the run goes on; come back with: sumgrad watch {run.id}")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    finish(run.refresh(), json)


def finish(ended: run_pb2.Run, json: bool) -> NoReturn:
    """Print a run that has ended, and leave with its exit code."""
    print_run(ended, json)
    raise typer.Exit(of_run(ended))
