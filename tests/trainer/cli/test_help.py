"""Help, version and completion, as a terminal of 80 columns shows them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from sumgrad.trainer.cli import verbs
from sumgrad.trainer.cli.exit_codes import ExitCode
from sumgrad.trainer.service.settings_table import table

from support.command_line import Sumgrad

VERBS = sorted(
    path.stem.replace("_", "-") for path in Path(verbs.__file__).parent.glob("[a-z]*.py")
)
TOKEN_VERBS = [("token", verb) for verb in ("create", "list", "revoke")]


def panels(text: str) -> dict[str, list[str]]:
    """The first words of the entries of each panel."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.endswith(":") and not line.startswith(" "):
            entries = found.setdefault(line[:-1], [])
        elif line.startswith("  ") and line[2:3].strip() and found:
            entries.append(line.split()[0])
    return found


def test_every_verb_stands_in_its_panel(sumgrad: Sumgrad) -> None:
    found = panels(sumgrad("--help").out)
    assert list(found) == ["Options", "Runs", "Study", "Service"]
    assert sorted(found["Runs"] + found["Study"] + found["Service"]) == VERBS
    assert found["Study"] == ["describe", "gradcheck"]
    assert found["Service"] == ["serve", "token"]


@pytest.mark.parametrize("words", [(), *((verb,) for verb in VERBS), *TOKEN_VERBS], ids=" ".join)
def test_help_fits_80_columns_and_cuts_nothing(words: tuple[str, ...], sumgrad: Sumgrad) -> None:
    ended = sumgrad(*words, "--help")
    assert (ended.code, ended.err) == (ExitCode.OK, "")
    assert max(map(len, ended.out.splitlines())) <= 80
    assert ended.out.replace("\n", "").isprintable()
    # How Typer shows a type without a name of ours, and text that it has cut.
    assert not re.search(r"<(path|str|int|list)|\w\.\.\.|…$", ended.out, re.MULTILINE)


def test_the_options_of_serve_are_its_settings(sumgrad: Sumgrad) -> None:
    found = panels(sumgrad("serve", "--help").out)
    assert list(found) == ["Options", *dict.fromkeys(s.option.group for s in table().values())]
    assert found["Options"] == ["--config", "--help"]
    options = [option for group in list(found)[1:] for option in found[group]]
    assert options == [setting.flag for setting in table().values()]


def test_the_version_is_that_of_the_package(sumgrad: Sumgrad) -> None:
    assert sumgrad("--version").out == f"sumgrad {version('sumgrad')}\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sumgrad des", ["describe"]),
        ("sumgrad re", ["resume"]),
        ("sumgrad serve --max-c", ["--max-cpus-per-user", "--max-calls"]),
        ("sumgrad token ", ["create", "list", "revoke"]),
        ("sumgrad list --so", ["--sort"]),
    ],
)
def test_a_shell_completes_verbs_and_options(line: str, expected: list[str]) -> None:
    code = "import sys; sys.argv = ['sumgrad']; from sumgrad.trainer.cli.app import main; main()"
    environment = {
        "_SUMGRAD_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(line.count(" ")),
    }
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.stdout.split() == expected
    assert ended.stderr == ""


def test_a_misspelt_verb_or_option_is_answered_with_the_nearest(sumgrad: Sumgrad) -> None:
    ended = sumgrad("verfy")
    assert (ended.code, "Did you mean 'verify'?" in ended.err) == (ExitCode.BAD_INPUT, True)
    ended = sumgrad("serve", "--max-call", "5")
    assert (ended.code, "--max-calls" in ended.err) == (ExitCode.BAD_INPUT, True)
