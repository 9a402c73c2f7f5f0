"""The fields of Settings that an operator may give, by their names in each source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sumgrad.trainer.service.settings import Option, Settings

PREFIX = "SUMGRAD_"


@dataclass(frozen=True)
class Setting:
    """A row of the table.

    Attributes:
        name: of the field, and the key in the file.
        field: type, default, bounds and description.
        option: how it is given.
    """

    name: str
    field: FieldInfo
    option: Option

    @property
    def flag(self) -> str:
        """Like ``--max-calls``."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """Like ``SUMGRAD_MAX_CALLS``."""
        return self.option.variable or PREFIX + self.name.upper()

    @property
    def is_list(self) -> bool:
        return self.field.default == ()

    @property
    def is_secret(self) -> bool:
        """Whether no message shows its value."""
        return not self.field.repr

    @property
    def description(self) -> str:
        return self.field.description or ""

    @property
    def default(self) -> Any:
        """The default value; None where Option.default has it in words."""
        value = self.field.default
        return None if value in (PydanticUndefined, ()) else value


@cache
def table() -> Mapping[str, Setting]:
    """Every setting by its name, in the order of the model, which is the order of the groups."""
    return {
        name: Setting(name, field, option)
        for name, field in Settings.model_fields.items()
        for option in field.metadata
        if isinstance(option, Option)
    }
