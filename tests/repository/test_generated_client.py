"""The blocking client is what the generator makes of the one for asyncio."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sumgrad.trainer.client import AsyncClient, AsyncRunHandle, Client, RunHandle

from support.repository import ROOT


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOOL = load(ROOT / "tools" / "generate_client.py")

SOURCE = '''
import asyncio
async def read(stream: AsyncGenerator[dict[str, int], None]) -> AsyncClient:
    """Read it, for programs on an event loop."""
    async with aclosing(stream) as found, durable_file_on_loop(path) as target:
        async for each in found:
            await asyncio.to_thread(target.write, each)
    await asyncio.sleep(1)
    return await made
'''

BLOCKING = '''
import time
def read(stream: Generator[dict[str, int], None, None]) -> Client:
    """Read it, for programs that wait."""
    with closing(stream) as found, durable_file(path) as target:
        for each in found:
            target.write(each)
    time.sleep(1)
    return made
'''


@pytest.mark.slow
def test_the_committed_client_is_the_generated_one() -> None:
    assert list(TOOL.differences()) == []


def test_a_line_that_was_changed_by_hand_is_a_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "trainer" / "client" / "_sync"
    folder.mkdir(parents=True)
    monkeypatch.setattr(TOOL, "generate", lambda name: f"# {name}\n")
    monkeypatch.setattr(TOOL, "GENERATED", folder)
    monkeypatch.setattr(TOOL, "ROOT", tmp_path)
    (folder / "client.py").write_text("# client.py\n")
    (folder / "run.py").write_text("# by hand\n")
    assert list(TOOL.differences()) == ["trainer/client/_sync/run.py"]
    (folder / "client.py").unlink()
    assert len(list(TOOL.differences())) == 2


def test_a_generated_file_says_of_what_it_is_made() -> None:
    for name in TOOL.FILES:
        first = (ROOT / "trainer/client/_sync" / name).read_text().partition("\n")[0]
        assert f"from trainer/client/_async/{name}; do not edit" in first


def test_what_waits_for_the_loop_becomes_what_blocks() -> None:
    assert TOOL.blocking(SOURCE) == BLOCKING


@pytest.mark.parametrize(
    "line", ["await_it = 1", "asyncio.gather(a, b)", "x: AsyncIterator[int]", "# the event loop"]
)
def test_a_word_that_no_rule_knows_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(ValueError, match=f"no rule for .* in line 2: {re.escape(line)}"):
        TOOL.blocking(f"\n{line}\n")


@pytest.mark.parametrize("rule", TOOL.RULES, ids=lambda rule: rule[0].pattern)
def test_every_rule_is_of_use(rule: tuple[re.Pattern[str], str]) -> None:
    sources = [(TOOL.BY_HAND / name).read_text() for name in TOOL.FILES]
    assert any(rule[0].search(source) for source in sources)


def signatures(kind: type) -> dict[str, Any]:
    return {
        name: list(inspect.signature(method).parameters.values())
        for name, method in vars(kind).items()
        if not name.startswith("_") and callable(method)
    }


@pytest.mark.parametrize(("one", "twin"), [(Client, AsyncClient), (RunHandle, AsyncRunHandle)])
def test_both_clients_have_the_same_calls_with_the_same_arguments(one: type, twin: type) -> None:
    assert signatures(one) == signatures(twin)
    assert len(signatures(one)) > 8
    assert inspect.signature(one.__init__).parameters.keys() == (
        inspect.signature(twin.__init__).parameters.keys()
    )
