"""Which of our modules import what, read from their sources."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from support.repository import ROOT

OURS = ("layers", "workers", "trainer")
"""Modules are named as below ``sumgrad``; that package itself is ``sumgrad``."""

Graph = Mapping[str, Collection[str]]
"""Modules, and what each of them imports."""


def sources() -> dict[str, Path]:
    """Every module of ours, and its file."""
    paths = [path for folder in OURS for path in sorted((ROOT / folder).rglob("*.py"))]
    return {_name(path.relative_to(ROOT)): path for path in paths} | {
        "sumgrad": ROOT / "src" / "sumgrad" / "__init__.py"
    }


def graph(at_import: bool = False) -> dict[str, set[str]]:
    """What each module of ours imports, see ``imported``."""
    found = sources()
    return {name: imported(path.read_text(), found, at_import) for name, path in found.items()}


def imported(source: str, ours: Collection[str] = (), at_import: bool = False) -> set[str]:
    """The modules that a source imports.

    ``from a import b`` imports ``a.b`` where that is a module of ours, and else ``a``. Relative
    imports begin with a dot.

    Args:
        at_import: leave out what functions import, and what is for type checkers only.
    """
    return {
        name for node in _nodes(ast.parse(source), at_import) for name in _imports_of(node, ours)
    }


def _nodes(tree: ast.AST, at_import: bool) -> Iterator[ast.AST]:
    yield tree
    for child in ast.iter_child_nodes(tree):
        if not (at_import and _is_put_off(child)):
            yield from _nodes(child, at_import)


def _is_put_off(node: ast.AST) -> bool:
    """Whether a part of a module does nothing when the module is imported."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test).rpartition(".")[2] == "TYPE_CHECKING"
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def _imports_of(node: ast.AST, ours: Collection[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (_below_sumgrad(alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        module = _below_sumgrad("." * node.level + (node.module or ""))
        for alias in node.names:
            longer = alias.name if module == "sumgrad" else f"{module}.{alias.name}"
            yield longer if longer in ours else module


def _below_sumgrad(name: str) -> str:
    return name.removeprefix("sumgrad.")


def _name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def inside(module: str, rooms: Collection[str]) -> bool:
    """Whether a module is one of these, or below one of them."""
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def reached(graph: Graph, module: str) -> dict[str, str]:
    """Every module that one leads to over any number of imports, and by way of which other."""
    by: dict[str, str] = {}
    todo = [module]
    while todo:
        here = todo.pop()
        for name in graph.get(here, ()):
            if name not in by:
                by[name] = here
                todo.append(name)
    return by


def circle(graph: Graph) -> list[str]:
    """Modules that import each other in a circle; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []
