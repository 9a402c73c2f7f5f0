"""What the docs say of the settings of a service is what its table says."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path

from sumgrad.trainer.service.settings_sources import read_settings
from sumgrad.trainer.service.settings_table import table

from support.repository import ROOT

TOOL = runpy.run_path(str(ROOT / "tools" / "generate_settings.py"))


def test_the_committed_pages_are_those_that_the_tool_writes() -> None:
    assert TOOL["main"](["--check"]) == 0


def test_a_table_that_differs_is_written_again() -> None:
    committed = TOOL["PAGE"].read_text()
    changed = committed.replace("| `--max-calls` |", "| `--max-call` |")
    assert changed != committed
    assert TOOL["page"](changed) == committed


def test_every_line_of_the_example_file_is_a_setting_that_counts(tmp_path: Path) -> None:
    content = re.sub(r"(?m)^# (?=\w+ = )", "", TOOL["example"]())
    path = tmp_path / "serve.toml"
    path.write_text(content)
    assert list(tomllib.loads(content)) == list(table())
    found = read_settings({}, path, {})
    assert found.max_calls == 100
    assert found.advertise == "trainer.example.org:7433"
    found.check()


def test_the_example_file_as_it_stands_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(TOOL["example"]())
    assert read_settings({}, path, {}) == read_settings({}, None, {})
