"""A service that lasts as long as the command, where none answers."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sumgrad.trainer.addresses import DEFAULT_ADDRESS
from sumgrad.trainer.cli.output import say
from sumgrad.trainer.host import state_directory

if TYPE_CHECKING:
    from sumgrad.trainer.client import Client


@contextlib.contextmanager
def own_service(state: Path | None) -> Iterator[Client]:
    """Start a service, and give a client of it. Its runs end with it."""
    from sumgrad.trainer.client import Client
    from sumgrad.trainer.service.embedded import EmbeddedService

    say(f"no service at {DEFAULT_ADDRESS}: starting one for this run")
    embedded = EmbeddedService(state or state_directory())
    # Whatever the environment says of another service.
    plain = dict.fromkeys(("token", "ca", "certificate", "key"), "")
    with _interruptible(), embedded, Client(embedded.address, **plain) as client:
        yield client


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C, so that nothing is left running."""

    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
