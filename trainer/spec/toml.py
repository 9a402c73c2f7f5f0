"""Specifications in TOML files, and ``--set`` overrides."""

from __future__ import annotations

import json
import os
import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

from sumgrad.trainer.spec.violations import InvalidSpecError, Violation

MAX_BYTES = 1 << 20

_PATHS = {"data": "path", "model": "start_from"}
"""The field of each section that may be a relative path."""

_STEP = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*)((?:\[\d{1,20}\])*)")


def read_toml(path: Path) -> dict[str, Any]:
    """The document of a file; relative paths in it are read from the file's folder.

    Raises:
        InvalidSpecError: the file cannot be read or is not TOML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidSpecError(
            [Violation("", f"cannot read {path}: {error.strerror}; check the path")]
        ) from None
    if len(content) > MAX_BYTES:
        raise InvalidSpecError([Violation("", f"{path} has more than {MAX_BYTES} bytes")])
    try:
        document = tomllib.loads(content.decode())
    except ValueError as error:
        raise InvalidSpecError([Violation("", f"{path} is not TOML: {error}")]) from None
    except RecursionError:
        raise InvalidSpecError([Violation("", f"{path} is nested too deeply")]) from None
    for section in _PATHS:
        _resolve_path(document, section, path.absolute().parent)
    return document


def override(document: dict[str, Any], setting: str) -> None:
    """Set one field, given as ``train.batch_size=64``; ``model.layers[0].units=8`` works too.

    The value is read as TOML and, where that fails, as text. A relative path is read from the
    current folder.

    Raises:
        InvalidSpecError: there is no such place in the document.
    """
    name, equals, text = setting.partition("=")
    steps = _steps(name.strip())
    if not equals or not steps:
        raise InvalidSpecError(
            [Violation("--set", f"{setting!r} is not of the form field=value, like seed=7")]
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text
    target: Any = document
    for step, following in pairwise(steps):
        if isinstance(target, dict) and isinstance(step, str) and isinstance(following, str):
            target.setdefault(step, {})
        target = _inside(target, step, setting)
    if isinstance(steps[-1], int):
        _inside(target, steps[-1], setting)
    elif not isinstance(target, dict):
        raise _nowhere(setting)
    target[steps[-1]] = value
    if steps[0] in _PATHS:
        _resolve_path(document, str(steps[0]), Path.cwd())


def _steps(name: str) -> list[str | int]:
    steps: list[str | int] = []
    for part in name.split("."):
        match = _STEP.fullmatch(part)
        if match is None:
            return []
        steps.append(match[1])
        steps += [int(index) for index in re.findall(r"\d+", match[2])]
    return steps


def _inside(target: Any, step: str | int, setting: str) -> Any:
    try:
        return target[step]
    except (KeyError, IndexError, TypeError):
        raise _nowhere(setting) from None


def _nowhere(setting: str) -> InvalidSpecError:
    return InvalidSpecError(
        [Violation("--set", f"{setting!r} names a place that the specification does not have")]
    )


def _resolve_path(document: dict[str, Any], section: str, folder: Path) -> None:
    """Make a section's relative path absolute; addresses stay as they are."""
    fields, field = document.get(section), _PATHS[section]
    path = fields.get(field) if isinstance(fields, dict) else None
    if isinstance(path, str) and path and "://" not in path:
        document[section][field] = os.path.normpath(folder / path)


def write_toml(document: dict[str, Any]) -> str:
    """A specification's document as TOML that ``read_toml`` reads back as it is."""
    plain = {name: value for name, value in document.items() if not isinstance(value, dict)}
    text = _fields(plain)
    for name, section in document.items():
        if isinstance(section, dict):
            text += f"\n[{name}]\n{_fields(section)}"
    return text


def _fields(fields: dict[str, Any]) -> str:
    return "".join(f"{name} = {_value(value)}\n" for name, value in fields.items())


def _value(value: Any) -> str:
    """A value on one line, but for lists of tables, which have a line for each."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            # JSON's strings are TOML's, but for DEL, which JSON leaves as it is.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case dict():
            return "{" + ", ".join(f"{name} = {_value(v)}" for name, v in value.items()) + "}"
        case list() if any(isinstance(item, dict) for item in value):
            return "[\n" + "".join(f"    {_value(item)},\n" for item in value) + "]"
        case list():
            return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value)
