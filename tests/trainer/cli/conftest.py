"""The command line as the tests of it use it."""

from __future__ import annotations

import pytest

from support.command_line import Sumgrad


@pytest.fixture
def sumgrad(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Sumgrad:
    return Sumgrad(monkeypatch, capsys)
