"""Each room says which question it answers, and the maps name every room."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from support.markdown import links
from support.repository import ROOT

GENERATED = "v1"

ROOMS = sorted(
    init.parent.relative_to(ROOT)
    for top in ("layers", "workers", "trainer")
    for init in (ROOT / top).rglob("__init__.py")
    if init.parent.name != GENERATED
)

MAP = ROOT / "docs" / "how-it-works.md"


def docstring(room: Path) -> str:
    return ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text())) or ""


@pytest.mark.parametrize("room", ROOMS, ids=str)
def test_a_room_begins_with_the_question_that_it_answers(room: Path) -> None:
    assert "?" in docstring(room).partition("\n")[0]


def test_the_map_of_the_repository_leads_to_every_room() -> None:
    shown = {(MAP.parent / link).resolve() for link in links(MAP.read_text())}
    mapped = [
        room for room in ROOMS if len(room.parts) <= 2 or room.parent == Path("trainer", "service")
    ]
    mapped.remove(Path("trainer"))
    assert not [room for room in mapped if ROOT / room not in shown]


def test_the_map_of_the_trainer_names_every_room_and_module_of_it() -> None:
    names = {path.stem for path in (ROOT / "trainer").iterdir() if not path.name.startswith("__")}
    named = {line.partition(" ")[0] for line in docstring(Path("trainer")).splitlines()}
    assert not names - named


def test_there_are_rooms() -> None:
    assert len(ROOMS) > 30
