"""Pydantic types for the tables of blocks: ``{type = "affine", units = 10}`` becomes Affine(10).

A block's fields are written in its frozen dataclass and nowhere else. A new row of a table is at
once a legal type in a specification.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any, Union, get_origin, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    PlainSerializer,
    Tag,
    create_model,
)

from sumgrad.layers.base.hyperparameters import Pair
from sumgrad.workers.datasets.dataset import NOT_IN_DOCUMENT

_CONFIG = ConfigDict(extra="forbid", strict=True)


def table(block: type[Any]) -> Any:
    """A dataclass that the document has as a table of its fields."""
    return Annotated[
        _fields_of(block),
        AfterValidator(lambda model: block(**dict(model))),
        PlainSerializer(_content),
    ]


def tagged(rows: Mapping[str, type[Any]], key: str) -> Any:
    """A union of a table's dataclasses, which ``key`` in the document distinguishes."""

    def tag(value: Any) -> Any:
        return value.get(key) if isinstance(value, dict) else None

    def untagged(value: dict[str, Any]) -> dict[str, Any]:
        return {name: content for name, content in value.items() if name != key}

    def document(block: Any) -> dict[str, Any]:
        name = next(name for name, kind in rows.items() if type(block) is kind)
        return {key: name, **_content(block)}

    members = [
        Annotated[table(block), BeforeValidator(untagged), Tag(name)]
        for name, block in rows.items()
    ]
    return Annotated[
        Union[tuple(members)],  # noqa: UP007 - the members are not known before the table is
        Discriminator(
            tag,
            custom_error_type=f"unknown_{key}",
            custom_error_message=f"must be one of: {', '.join(sorted(rows))}",
        ),
        PlainSerializer(document),
    ]


def _content(block: Any) -> dict[str, Any]:
    values = {field.name: getattr(block, field.name) for field in _documented(block)}
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items()
    }


def _documented(block: Any) -> list[Field[Any]]:
    return [field for field in fields(block) if field.metadata != NOT_IN_DOCUMENT]


def _fields_of(block: type[Any]) -> type[BaseModel]:
    """A model that checks the types of a dataclass's fields; the dataclass checks the values."""
    hints = get_type_hints(block)
    content = {
        f.name: (_in_document(hints[f.name]), ... if f.default is MISSING else f.default)
        for f in _documented(block)
    }
    return create_model(block.__name__, __config__=_CONFIG, **content)  # type: ignore[call-overload]


def _in_document(hint: Any) -> Any:
    """The type of a field as documents have it: a list where the dataclass has a tuple."""
    if hint == Pair:
        return Annotated[tuple[int, int], BeforeValidator(_as_pair)]
    if get_origin(hint) is tuple:
        return Annotated[hint, BeforeValidator(_as_tuple)]
    return hint


def _as_pair(value: Any) -> Any:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return (value, value) if is_number else _as_tuple(value)


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
