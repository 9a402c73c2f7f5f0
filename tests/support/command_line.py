"""The command line inside the test's process."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from sumgrad.trainer.cli import app


class Ended(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


class Sumgrad:
    """Runs ``sumgrad`` with arguments, 80 columns wide, with stdout and stderr as pipes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        monkeypatch.setenv("COLUMNS", "80")

    def __call__(self, *arguments: str) -> Ended:
        self._monkeypatch.setattr("sys.argv", ["sumgrad", *arguments])
        self._capsys.readouterr()
        code = app.run()
        found = self._capsys.readouterr()
        return Ended(code, found.out, found.err)
