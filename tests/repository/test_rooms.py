"""Each room says which question it answers, and the maps give every room with that question."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from support.repository import ROOT

GENERATED = "v1"

ROOMS = sorted(
    init.parent.relative_to(ROOT)
    for top in ("layers", "workers", "trainer")
    for init in (ROOT / top).rglob("__init__.py")
    if init.parent.name != GENERATED
)

TRAINER = Path("trainer")
MAP = ROOT / "docs" / "how-it-works.md"


def docstring(room: Path) -> str:
    return ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text())) or ""


def question(room: Path) -> str:
    """What a room's docstring begins with, as plain text in one line."""
    asked, mark, _ = docstring(room).partition("?")
    return plain(asked + mark)


def plain(text: str) -> str:
    """A text without marks of code, in one line."""
    return " ".join(text.replace("`", "").split())


def mapped(page: str) -> dict[Path, str]:
    """The rooms in the page's map, each with its question."""
    rows = re.findall(r"^\| \[`([\w/]+)/`\]\(\.\./([\w/]+)\) \| (.+) \|$", page, re.MULTILINE)
    assert all(name == target for name, target, _ in rows)
    return {Path(name): plain(asked) for name, _, asked in rows}


@pytest.mark.parametrize("room", ROOMS, ids=str)
def test_a_room_begins_with_the_question_that_it_answers(room: Path) -> None:
    assert "?" in docstring(room).partition("\n")[0]


def test_no_two_rooms_answer_the_same_question() -> None:
    assert len({question(room) for room in ROOMS}) == len(ROOMS)


def test_the_map_of_the_repository_has_every_room_with_its_question() -> None:
    found = mapped(MAP.read_text())
    del found[Path("proto")]  # it has no docstring
    assert found == {room: question(room) for room in ROOMS}


def test_a_question_is_compared_without_its_markup() -> None:
    row = "| [`trainer/cli/`](../trainer/cli) | What does `sumgrad` do? |\n"
    assert mapped(row) == {Path("trainer/cli"): "What does sumgrad do?"}


def test_the_map_of_the_trainer_has_every_room_with_its_question() -> None:
    lines = (line.split(maxsplit=1) for line in docstring(TRAINER).splitlines() if "  " in line)
    found = {name: plain(asked) for name, asked in lines}
    rooms = {room.name: question(room) for room in ROOMS if room.parent == TRAINER}
    assert {name: found.get(name) for name in rooms} == rooms


def test_the_map_of_the_trainer_names_every_room_and_module_of_it() -> None:
    names = {path.stem for path in (ROOT / "trainer").iterdir() if not path.name.startswith("__")}
    named = {line.partition(" ")[0] for line in docstring(TRAINER).splitlines()}
    assert not names - named


def test_there_are_rooms() -> None:
    assert len(ROOMS) > 30
