"""Help as plain text, in a section for each panel, that reads well at 80 columns.

Typer's own panels give long option names and their descriptions too little room there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

F = TypeVar("F", bound=Callable[..., Any])

SHORT_HELP = 90
"""Characters of a verb's description in the list of verbs."""


class App(typer.Typer):
    """A Typer with this help, and errors in plain text too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            cls=Group, rich_markup_mode=None, pretty_exceptions_enable=False, **options
        )

    def command(self, name: str | None = None, **options: Any) -> Callable[[F], F]:
        return super().command(name, cls=Command, **options)


class Command(TyperCommand):
    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_parameters(self.get_params(ctx), ctx, formatter)


class Group(TyperGroup):
    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_parameters(self.get_params(ctx), ctx, formatter)
        commands: dict[str, Any] = self.commands  # type: ignore[assignment]
        _write_sections(
            (
                (
                    command.rich_help_panel or "Commands",
                    name,
                    command.get_short_help_str(SHORT_HELP),
                )
                for name, command in commands.items()
            ),
            formatter,
        )


def _write_parameters(parameters: Iterable[Any], ctx: Any, formatter: Any) -> None:
    rows = []
    for parameter in parameters:
        record = parameter.get_help_record(ctx)
        if record is None:
            continue
        name, text = record
        if parameter.param_type_name == "argument":  # whose type says nothing beside its name
            rows.append(("Arguments", parameter.metavar or name, text))
        else:
            rows.append((parameter.rich_help_panel or "Options", name, text))
    _write_sections(rows, formatter)


def _write_sections(rows: Iterable[tuple[str, str, str]], formatter: Any) -> None:
    """Rows of section, name and description, in the order in which the sections first come."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for section, name, text in rows:
        sections.setdefault(section, []).append((name, text))
    for section, found in sections.items():
        with formatter.section(section):
            formatter.write_dl(found)
