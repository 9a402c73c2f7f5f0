"""Pydantic types for the tables of blocks: ``{type = "affine", units = 10}`` becomes Affine(10).

The tables and their frozen dataclasses are the only place where a block's fields are written;
a new row is at once a legal type in a specification.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
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

_CONFIG = ConfigDict(extra="forbid", strict=True)


def tagged(table: Mapping[str, type[Any]], key: str) -> Any:
    """A union of the table's dataclasses, told apart by ``key`` in the document."""

    def tag(value: Any) -> Any:
        return value.get(key) if isinstance(value, dict) else None

    def untagged(value: dict[str, Any]) -> dict[str, Any]:
        return {name: content for name, content in value.items() if name != key}

    def document(block: Any) -> dict[str, Any]:
        name = next(name for name, kind in table.items() if type(block) is kind)
        values = {field.name: getattr(block, field.name) for field in fields(block)}
        return {key: name} | {
            field: list(value) if isinstance(value, tuple) else value
            for field, value in values.items()
        }

    members = [
        Annotated[
            _fields_of(block),
            BeforeValidator(untagged),
            AfterValidator(lambda model, block=block: block(**dict(model))),
            Tag(name),
        ]
        for name, block in table.items()
    ]
    return Annotated[
        Union[tuple(members)],  # noqa: UP007 - the members are not known before the table is
        Discriminator(
            tag,
            custom_error_type=f"unknown_{key}",
            custom_error_message=f"must be one of: {', '.join(sorted(table))}",
        ),
        PlainSerializer(document),
    ]


def _fields_of(block: type[Any]) -> type[BaseModel]:
    """A model that checks the types of a dataclass's fields; the dataclass checks the values."""
    hints = get_type_hints(block)
    content = {
        f.name: (_in_document(hints[f.name]), ... if f.default is MISSING else f.default)
        for f in fields(block)
    }
    return create_model(block.__name__, __config__=_CONFIG, **content)  # type: ignore[call-overload]


def _in_document(hint: Any) -> Any:
    """The type of a field as documents have it: a list where the dataclass has a tuple."""
    if get_origin(hint) is not tuple:
        return hint
    return Annotated[
        hint, BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
    ]
