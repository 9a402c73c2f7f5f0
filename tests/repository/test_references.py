"""Sources cite pages of this repository, by headings that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.markdown import unresolved
from support.repository import ROOT

FOLDERS = (
    *("layers", "workers", "trainer", "proto", "src/sumgrad"),
    *("tests", "benchmarks", "tools", "examples", "deploy", "docs"),
)
SUFFIXES = {".py", ".proto", ".toml", ".md", ".yaml", ".yml", ".sh"}

REFERENCE = re.compile(r"(?<![\w./-])docs/[\w./-]*\.md(?:#[\w-]+)?")
"""One uniform form, like ``docs/page.md#heading``, from the repository's root."""

ELSEWHERE = re.compile(
    r"\b(?:SPEC|DESIGN)(?:'s\b|\.md\b| sections?\b| \d)|\b(?:HOUSE|STYLE)\.md\b|\.\./shared\b"
    r"|docs/decisions\.md|docs/[\w/]+\.md,? sections?\b"
)
"""Citations of files that a reader does not have, or in another form."""


def texts() -> Iterator[tuple[Path, str]]:
    """Every file that people write, but this one, which has wrong references."""
    files = {path for folder in FOLDERS for path in (ROOT / folder).rglob("*")}
    files |= {path for path in ROOT.iterdir() if path.is_file()}
    for path in sorted(files):
        written = path.suffix in SUFFIXES or path.name == "Makefile"
        if written and "_pb2" not in path.name and path != Path(__file__).resolve():
            yield path.relative_to(ROOT), path.read_text()


def wrong_references(text: str) -> list[str]:
    """References that lead nowhere, and citations of files outside the repository."""
    nowhere = [found for found in REFERENCE.findall(text) if unresolved(found, ROOT / "README.md")]
    return nowhere + ELSEWHERE.findall(text)


@pytest.mark.slow
def test_every_reference_leads_to_a_heading_that_exists() -> None:
    found = {path: wrong for path, text in texts() if (wrong := wrong_references(text))}
    assert not found


def test_layers_and_losses_cite_the_mathematics() -> None:
    cited = [
        path
        for path, text in texts()
        if path.parts[0] == "layers" and "docs/mathematics.md#" in text
    ]
    assert len(cited) >= 25


@pytest.mark.parametrize(
    "text",
    [
        "Formulas: docs/mathematics.md#5-vector-layer.",
        "(docs/nowhere.md)",
        "docs/decisions/layers.md#cook-toom",
        "docs/decisions.md",
        "docs/mathematics.md, section 5",
        "(SPEC section 5)",
        "(SPEC sections 5 and 6)",
        "(SPEC 7)",
        "SPEC's sum",
        "(DESIGN sections 1 and 6)",
        'path = "../../shared/data/mnist"',
        "see HOUSE.md",
    ],
)
def test_a_wrong_reference_is_found(text: str) -> None:
    assert wrong_references(text)


@pytest.mark.parametrize(
    "text",
    [
        "Formulas: docs/mathematics.md#5-vector-layers.",
        "docs/decisions/README.md",
        "sumgrad describe SPEC",
        "https://example.org/docs/nowhere.md",
    ],
)
def test_a_right_reference_is_not_reported(text: str) -> None:
    assert not wrong_references(text)
