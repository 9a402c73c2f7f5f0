"""A run's events as they come, on stderr: a progress bar, or plain lines.

The bar is for terminals that can move their cursor. In a pipe, and where TERM says "dumb", lines
have no control characters at all.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from sumgrad.trainer.cli.output import duration, printable_lines, say
from sumgrad.trainer.cli.run_output import metric, waiting
from sumgrad.trainer.record.enum_names import state_name
from sumgrad.trainer.record.events import STOPS
from sumgrad.trainer.v1 import run_pb2, service_pb2

LINE_SECONDS = 0.5
"""In a pipe, figures come at most this often."""

BAR_WIDTH = 40


class Display(Protocol):
    def note(self, text: str) -> None: ...

    def progress(self, progress: run_pb2.Progress) -> None: ...

    def epoch(self, epoch: run_pb2.Epoch) -> None: ...

    def close(self) -> None: ...


def follow(events: Iterable[service_pb2.WatchRunResponse]) -> None:
    """Show the events until there are no more."""
    display: Display = Bar() if _moves_cursor() else Lines()
    try:
        for response in events:
            if response.HasField("snapshot"):
                run = response.snapshot.run
                display.note(f"{run.id} {run.spec.name}: {state_name(run.state)}")
                for warning in run.warnings:
                    display.note(f"warning: {warning}")
                if run.HasField("progress"):
                    display.progress(run.progress)
                if run.HasField("queue"):
                    display.note(f"waits: {waiting(run.queue)}")
            elif response.HasField("queue_status"):
                display.note(f"waits: {waiting(response.queue_status)}")
            else:
                _show(display, response.event)
    finally:
        display.close()


def _moves_cursor() -> bool:
    """Whether stderr is a terminal that can be drawn on."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")


def _show(display: Display, event: run_pb2.Event) -> None:
    match event.WhichOneof("kind"):
        case "state_change":
            change = event.state_change
            reason = f": {change.message}" if change.message else ""
            display.note(state_name(change.state) + reason)
        case "progress":
            display.progress(event.progress)
        case "epoch":
            display.epoch(event.epoch)
        case "scaled":
            display.note(f"{event.scaled.workers} worker(s) wanted")
        case "membership":
            member = event.membership
            reason = f": {member.reason}" if member.reason else ""
            verb = "joined" if member.joined else "left"
            display.note(f"{member.worker} {verb} at step {member.step}{reason}")
        case "resumed":
            display.note(f"resumed from the snapshot of step {event.resumed.step}")
        case "restarted":
            display.note(f"the parameter server is started again: {event.restarted.reason}")
        case "preempted":
            display.note(f"gives way to {event.preempted.by} at the next snapshot")
        case "stop_requested":
            display.note(STOPS[event.stop_requested.stop])
        case "warning":
            display.note(f"warning: {event.warning.message}")


class Bar:
    """A bar that fills, with the figures beside and below it."""

    def __init__(self) -> None:
        self._live = Live(console=Console(stderr=True), auto_refresh=False)
        self._held_out = ""
        self._live.start()

    def note(self, text: str) -> None:
        self._live.console.print(escape(printable_lines(text)), highlight=False)

    def progress(self, progress: run_pb2.Progress) -> None:
        place = f"epoch {progress.epoch}/{progress.epochs} · step {progress.step}/{progress.steps}"
        figures = (
            f"E_in {progress.e_in:.4f}{_after(' · ', metric(progress, '.3f'))}{self._held_out} · "
            f"{progress.samples_per_second:,.0f} samples/s · "
            f"{duration(progress.seconds_left)} left"
        )
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(progress.steps, progress.step, width=BAR_WIDTH), place)
        self._live.update(Group(bar, figures), refresh=True)

    def epoch(self, epoch: run_pb2.Epoch) -> None:
        self._held_out = f" · E_out {epoch.e_out:.4f}"

    def close(self) -> None:
        self._live.stop()


class Lines:
    """A line for each event, and for figures at most every LINE_SECONDS."""

    def __init__(self) -> None:
        self._printed = 0.0
        self._held_back = ""

    def note(self, text: str) -> None:
        self._flush()
        say(printable_lines(text))

    def progress(self, progress: run_pb2.Progress) -> None:
        self._figures(
            f"epoch {progress.epoch}/{progress.epochs} step {progress.step}/{progress.steps} "
            f"E_in {progress.e_in:.4f}{_after(' ', metric(progress, '.3f'))} "
            f"{progress.samples_per_second:,.0f} samples/s {duration(progress.seconds_left)} left"
        )

    def epoch(self, epoch: run_pb2.Epoch) -> None:
        self._figures(
            f"epoch {epoch.epoch} done: E_in {epoch.e_in:.4f} E_out {epoch.e_out:.4f}"
            f"{_after(' held-out ', metric(epoch, '.4f'))}"
        )

    def _figures(self, text: str) -> None:
        """Print at once if the last line was a while ago; hold back the newest otherwise."""
        self._held_back = text
        if time.monotonic() - self._printed > LINE_SECONDS:
            self._flush()

    def _flush(self) -> None:
        if self._held_back:
            say(self._held_back)
            self._printed, self._held_back = time.monotonic(), ""

    def close(self) -> None:
        self._flush()


def _after(separator: str, text: str) -> str:
    return separator + text if text else ""
