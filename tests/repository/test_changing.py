"""docs/changing.md names just the files that each of its examples takes, within its budget."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from support.repository import ROOT

PAGE = (ROOT / "docs" / "changing.md").read_text()

SOURCES = ("layers", "workers", "trainer", "proto")
GENERATED = ("trainer/client/_sync",)


class Change(NamedTuple):
    """A usual change.

    Attributes:
        example: finds its example in the sources.
        budget: how many files it may take.
    """

    example: str
    budget: int


CHANGES = {
    "A layer": Change(r"\b(elu|Elu|ELU)\b", 3),
    "A loss": Change(r"\b(svm|SVM)\b|_SVM\b", 3),
    "A loss's metric": Change(r"\b_?(rmse|RMSE)\b", 2),
    "A data format": Change(r"\b(diabetes|Diabetes)\b", 3),
    "An update rule": Change(r"\b(nesterov|Nesterov)\b", 3),
    "An RPC": Change(r"\bScaleRun|\bdef scale\(\s*(self, )?(run_id|workers|stored)\b", 8),
    "A Prometheus series": Change(r"\bsumgrad_loss\b", 1),
    "A command-line verb": Change(r"^def verify\(", 1),
    "A setting of the service": Change(r"^    reflection: |settings\.reflection\b", 2),
    "A change of the run store's schema": Change(r"\bTOKENS\b|op\.create_table\(\s*\"tokens\"", 3),
}


def written(path: Path) -> bool:
    """Whether people write this source."""
    name = path.relative_to(ROOT).as_posix()
    return (
        path.suffix in (".py", ".proto")
        and "_pb2" not in path.name
        and not name.startswith(GENERATED)
    )


def found(example: str) -> list[str]:
    """The hand-written sources in which an example is."""
    pattern = re.compile(example, re.MULTILINE)
    paths = [path for folder in SOURCES for path in (ROOT / folder).rglob("*") if written(path)]
    return sorted(
        path.relative_to(ROOT).as_posix() for path in paths if pattern.search(path.read_text())
    )


def named(change: str) -> list[str]:
    """The files in a section's table."""
    section = PAGE.split(f"\n## {change}\n")[1].split("\n## ")[0]
    return sorted(re.findall(r"^\| `([\w./]+)` \|", section, re.MULTILINE))


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_takes_just_the_files_that_the_page_names(change: str) -> None:
    assert named(change) == found(CHANGES[change].example)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_stays_within_its_budget(change: str) -> None:
    assert 0 < len(named(change)) <= CHANGES[change].budget


def test_every_section_is_held_to_the_tree() -> None:
    assert re.findall(r"^## (.+)$", PAGE, re.MULTILINE) == list(CHANGES)


@pytest.mark.slow
def test_files_of_another_change_are_told_apart() -> None:
    assert named("A layer") != found(CHANGES["A loss"].example)
