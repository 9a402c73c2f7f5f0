"""A digest of the code that decides bits, which another wording does not change.

Hashed is what is computed and not how it is explained: the syntax tree of each source, without
comments, docstrings and layout, and without the texts of exceptions and log lines. Everything else
counts, names and other string constants among it: a string may well select what is computed, and
nobody can tell from outside that it does not.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DECIDING = (
    "layers",
    "trainer/arithmetic",
    "workers/datasets/dataset.py",
    "workers/datasets/formats",
    "workers/job.py",
    "workers/sampling.py",
    "workers/summation_tree.py",
    "workers/worker.py",
)
"""Our sources between the data, whose digest a receipt has, and the weights."""

NOT_DECIDING = ("layers/derivatives",)
"""What lies among them and takes no part in training."""


def code_digest(root: Path) -> str:
    """SHA-256 over the paths and the meaning of the deciding sources below a folder.

    It does not depend on the version of Python that computes it.

    Raises:
        SyntaxError: a file is no Python.
    """
    sha = hashlib.sha256()
    for path in _sources(root):
        content = json.dumps(_meaning(ast.parse(path.read_bytes()))).encode()
        sha.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return sha.hexdigest()


def _sources(root: Path) -> Iterator[Path]:
    left_out = [root / name for name in NOT_DECIDING]
    for name in DECIDING:
        place = root / name
        found = [place] if place.is_file() else sorted(place.rglob("*.py"))
        yield from (path for path in found if not any(map(path.is_relative_to, left_out)))


def _meaning(node: object, explains: bool = False) -> Any:
    """A syntax tree as plain data.

    Left out are fields without a value, because each version of Python adds some, and whether a
    name is read or written, because its place says so.

    Args:
        explains: it is part of an exception or a log line, whose texts do not count.
    """
    if isinstance(node, list):
        return [_meaning(each, explains) for each in node if not _is_silent(each, explains)]
    if not isinstance(node, ast.AST):
        return repr(node)
    if explains and _is_text(node):
        return "a text"
    explains = explains or isinstance(node, ast.Raise) or _is_log_call(node)
    fields = {
        name: _meaning(value, explains)
        for name, value in ast.iter_fields(node)
        if value is not None and value != [] and name != "ctx"
    }
    return [type(node).__name__, fields]


def _is_text(node: object) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_silent(node: object, explains: bool) -> bool:
    """Whether nothing happens: a docstring, ``pass``, or the text between an f-string's values."""
    if isinstance(node, ast.Expr):
        return _is_text(node.value)
    return isinstance(node, ast.Pass) or (explains and _is_text(node))


def _is_log_call(node: ast.AST) -> bool:
    """Whether it is a statement such as ``_LOG.info("…")``."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
        and isinstance(node.value.func.value, ast.Name)
        and node.value.func.value.id == "_LOG"
    )
