"""What pydantic finds wrong with a document, as violations in our words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from sumgrad.layers import InvalidHyperparameterError
from sumgrad.trainer.spec.violations import Violation

_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "string": "a text",
    "list": "a list",
    "tuple": "a list",
    "bool": "true or false",
}

UNIONS = ("data", "update", "batch_size", "schedule")
"""Fields, besides the elements of a list, whose type depends on a tag."""


def from_pydantic(error: ValidationError, names: set[str]) -> list[Violation]:
    """Every mistake that pydantic found.

    Args:
        names: the tags of all unions; pydantic puts them into its locations, where the document
            has no such level.
    """
    found: dict[str, Violation] = {}
    for item in error.errors(include_url=False):
        place = _place(item["loc"], names)
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, InvalidHyperparameterError):
            for field, problem in cause.problems:
                violation = Violation(_path([*place, field]), problem)
                found.setdefault(violation.field, violation)
            continue
        if item["type"] in ("unknown_type", "unknown_rule"):
            place.append(item["type"].removeprefix("unknown_"))
        violation = Violation(_path(place), _describe(item))
        found.setdefault(violation.field, violation)
    return list(found.values())


def _path(parts: Sequence[str | int]) -> str:
    """``("model", "layers", 2)`` as ``model.layers[2]``."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _place(location: tuple[int | str, ...], names: set[str]) -> list[int | str]:
    """The location without the tags that pydantic puts behind the fields that are unions."""
    place: list[int | str] = []
    for i, part in enumerate(location):
        before = location[i - 1] if i else ""
        if part in names and (isinstance(before, int) or before in UNIONS):
            continue
        place.append(part)
    return place


def _describe(item: Any) -> str:
    kind, context, value = item["type"], item.get("ctx", {}), item["input"]
    shown = _shown(value)
    match kind:
        case "missing":
            return "is required"
        case "extra_forbidden" | "unexpected_keyword_argument":
            return "is not a field of a specification here; check its spelling"
        case "greater_than_equal":
            return f"must be ≥ {context['ge']:g}, got {shown}"
        case "greater_than":
            return f"must be > {context['gt']:g}, got {shown}"
        case "less_than_equal":
            return f"must be ≤ {context['le']}, got {shown}"
        case "finite_number":
            return f"must be a finite number, got {shown}"
        case "too_short":
            return f"needs at least {context['min_length']} element(s), got {shown}"
        case "too_long":
            return f"must have at most {context['max_length']} elements"
        case "string_too_short":
            return "must not be empty"
        case "string_too_long":
            return f"must have at most {context['max_length']} characters, got {len(value)}"
        case "literal_error":
            return f"must be {context['expected']}, got {shown}"
        case "unknown_name":
            return f"{item['msg']}; got {shown}"
        case "unknown_type" | "unknown_rule":
            key = kind.removeprefix("unknown_")
            return (
                f"{item['msg']}; got {_shown(value.get(key) if isinstance(value, dict) else value)}"
            )
        case "dataclass_type" | "model_type" | "model_attributes_type" | "dict_type":
            return f"must be a table of fields, got {shown}"
    name = kind.removesuffix("_type").removesuffix("_parsing").removesuffix("_from_float")
    if name in _TYPES:
        return f"must be {_TYPES[name]}, got {shown}"
    return str(item["msg"])


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except RecursionError:
        return "a value that is nested very deeply"
    return text if len(text) <= 80 else text[:77] + "..."
