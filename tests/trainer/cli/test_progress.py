"""A run that is followed: a bar where the terminal can draw one, and plain lines elsewhere."""

from __future__ import annotations

import io
import re
import sys

import pytest

from sumgrad.trainer.cli.progress import follow
from sumgrad.trainer.v1 import run_pb2, service_pb2

COLOUR = re.compile(r"\x1b\[[0-9;]*(?:3[0-9]|4[0-9]|9[0-9])[0-9;]*m")


class Stream(io.StringIO):
    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def followed(monkeypatch: pytest.MonkeyPatch, is_terminal: bool, **environment: str | None) -> str:
    """What following a run writes to stderr in such surroundings."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM", "COLUMNS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        if value is not None:
            monkeypatch.setenv(name, value)
    stream = Stream(is_terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    run = run_pb2.Run(id="r-1", state=run_pb2.RUN_STATE_RUNNING)
    run.spec.name = "digits"
    progress = run_pb2.Progress(epoch=1, epochs=2, step=3, steps=4, e_in=0.5)
    happened = [
        run_pb2.Event(progress=progress),
        run_pb2.Event(epoch=run_pb2.Epoch(epoch=1, e_in=0.5, e_out=0.4)),
        run_pb2.Event(warning=run_pb2.Warning(message="the disk \x1b[31mis\r full")),
        run_pb2.Event(progress=progress),
    ]
    first = service_pb2.WatchRunResponse(snapshot=service_pb2.Snapshot(run=run))
    follow([first, *(service_pb2.WatchRunResponse(event=event) for event in happened)])
    return stream.getvalue()


@pytest.mark.parametrize(
    ("is_terminal", "term"),
    [(True, "dumb"), (True, "unknown"), (True, ""), (True, None), (False, "xterm"), (False, None)],
)
def test_lines_without_a_control_character_come_where_nothing_can_be_drawn(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool, term: str | None
) -> None:
    text = followed(monkeypatch, is_terminal, TERM=term)
    assert text.replace("\n", "").isprintable()
    assert text.splitlines()[0] == "r-1 digits: running"
    assert "epoch 1/2 step 3/4 E_in 0.5000 " in text
    assert "epoch 1 done: E_in 0.5000 E_out 0.4000" in text
    assert "warning: the disk \\x1b[31mis\\r full" in text


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    text = followed(monkeypatch, True, TERM="xterm-256color")
    assert "━" in text
    assert COLOUR.search(text)


def test_no_color_leaves_the_bar_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    text = followed(monkeypatch, True, TERM="xterm-256color", NO_COLOR="1")
    assert "━" in text
    assert not COLOUR.search(text)


def test_a_message_of_a_run_moves_no_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    text = followed(monkeypatch, True, TERM="xterm-256color", NO_COLOR="1")
    assert "warning: the disk \\x1b[31mis\\r full" in text
