"""What the documentation says of the repository is so: links, sessions, names of tests."""

from __future__ import annotations

import doctest
import inspect
import re
from pathlib import Path

import pytest

from sumgrad.layers import LAYERS, LOSSES
from sumgrad.trainer.arithmetic.schedules import SCHEDULES
from sumgrad.trainer.arithmetic.update_rules import UPDATE_RULES

from support.markdown import CODE_BLOCK, links, unresolved
from support.repository import ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
MATHEMATICS = ROOT / "docs" / "mathematics.md"

SOURCE = re.compile(
    r"(?<![\w./])(?:layers|workers|trainer|proto|tests|benchmarks|tools|examples)/"
    r"[\w/.-]+\.(?:py|proto|toml)\b"
)


def sessions(text: str) -> str:
    """Everything typed at Python, one block after the other."""
    return "\n".join(body for language, body in CODE_BLOCK.findall(text) if language == "pycon")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_resolves(page: Path) -> None:
    assert not [link for link in links(page.read_text()) if unresolved(link, page)]


def test_a_broken_link_is_found() -> None:
    text = (
        "[a](mathematics.md) [b](nowhere.md) [c](https://example.org/x) [d](#1-learning) [e](#no)\n"
        "[f](command-line.md#gradcheck) [g](command-line.md#no)\n```toml\n[h](code.md)\n```\n"
    )
    broken = [link for link in links(text) if unresolved(link, MATHEMATICS)]
    assert broken == ["nowhere.md", "#no", "command-line.md#no"]


def missing_sources(text: str) -> list[str]:
    """Sources that a page names by their path from the root, and that do not exist."""
    return [name for name in SOURCE.findall(text) if not (ROOT / name).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_source_that_a_page_names_exists(page: Path) -> None:
    if page.name != "changing.md":  # test_changing.py holds it to the tree
        assert not missing_sources(page.read_text())


def test_a_source_that_does_not_exist_is_found() -> None:
    assert missing_sources("`layers/elu.py`, `layers/elus.py`") == ["layers/elus.py"]


def test_there_are_links_to_check() -> None:
    assert sum(len(links(page.read_text())) for page in PAGES) > 40


@pytest.mark.parametrize(
    "kind",
    [kind for table in (LAYERS, LOSSES, UPDATE_RULES, SCHEDULES) for kind in table.values()],
    ids=lambda kind: kind.__name__,
)
def test_the_mathematics_leads_to_every_layer_loss_rule_and_schedule(kind: type) -> None:
    linked = {(MATHEMATICS.parent / link).resolve() for link in links(MATHEMATICS.read_text())}
    assert Path(inspect.getfile(kind)).resolve() in linked


def test_the_sessions_in_the_mathematics_give_what_is_shown() -> None:
    session = doctest.DocTestParser().get_doctest(
        sessions(MATHEMATICS.read_text()), {}, MATHEMATICS.name, str(MATHEMATICS), 0
    )
    said: list[str] = []
    result = doctest.DocTestRunner().run(session, out=said.append)
    assert result.attempted > 10
    assert not result.failed, "".join(said)


def test_the_tests_that_the_mathematics_names_are_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", MATHEMATICS.read_text()))
    defined = re.findall(
        r"^def (test_\w+)", (ROOT / "tests/layers/oracles/test_slides.py").read_text(), re.M
    )
    assert len(named) >= 6
    assert named <= set(defined)


def test_the_tests_that_reliability_names_are_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "reliability.md").read_text()))
    files = (path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    defined = {name for text in files for name in re.findall(r"^def (test_\w+)", text, re.M)}
    assert len(named) >= 20
    assert named <= defined
