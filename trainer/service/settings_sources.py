"""Settings from options, ``SUMGRAD_…`` variables and a TOML file, in this order of precedence."""

from __future__ import annotations

import difflib
import stat
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.service.settings import Settings
from sumgrad.trainer.service.settings_table import PREFIX, Setting, table
from sumgrad.trainer.service.store.database import has_password

OTHER_VARIABLES = {
    # Of the command and of clients.
    *("SUMGRAD_ADDRESS", "SUMGRAD_CA", "SUMGRAD_CERT", "SUMGRAD_KEY", "SUMGRAD_TOKEN"),
    *("SUMGRAD_TOKEN_FILE", "SUMGRAD_CONFIG", "SUMGRAD_DEBUG"),
    # From a service to its runners.
    *("SUMGRAD_RUN_ID", "SUMGRAD_RUN_TOKEN", "SUMGRAD_ATTEMPT", "SUMGRAD_SERVICE"),
    *("SUMGRAD_SERVICE_CERTIFICATE", "SUMGRAD_SERVICE_NAME"),
}
"""Variables of ours that are no settings of a service."""


def read_settings(
    options: Mapping[str, Any], path: Path | None, environment: Mapping[str, str]
) -> Settings:
    """Read the settings of a service.

    Args:
        options: by the names of their fields; without those that were not given.
        path: of the TOML file.
        environment: empty variables do not count.

    Raises:
        UsageError: naming the option, the variable, or the file and its key.
    """
    if options.get("store") and has_password(options["store"]):
        raise UsageError(
            "--store must not hold a password, which others can see there; put it into PGPASSWORD "
            "or PGPASSFILE, or the whole URL into SUMGRAD_STORE"
        )
    variables = _variables(environment)
    file = {} if path is None else _file(path)

    class Sources(BaseSettings, Settings):
        model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            *_others: PydanticBaseSettingsSource,
            **_more: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            from_file = () if path is None else (TomlConfigSettingsSource(settings_cls, path),)
            return (init_settings, _Variables(settings_cls, variables), *from_file)

    def source(setting: Setting) -> str:
        if setting.name in options:
            return setting.flag
        return setting.variable if setting.name in variables else f"{path}: {setting.name}"

    try:
        found = Sources(**options)
    except ValidationError as error:
        raise UsageError("; ".join(_sentences(error, source))) from None
    if "store" in file and "store" not in {*options, *variables}:
        assert path is not None
        _check_secret(path, file["store"])
    return Settings(**dict(found))


class _Variables(PydanticBaseSettingsSource):
    """The variables that are set, by the names of their fields."""

    def __init__(self, settings_cls: type[BaseSettings], variables: Mapping[str, Any]) -> None:
        super().__init__(settings_cls)
        self._variables = variables

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._variables.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return dict(self._variables)


def _variables(environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings that variables give; a list has commas between its items.

    Raises:
        UsageError: a variable looks like a misspelt setting.
    """
    by_variable = {setting.variable: setting for setting in table().values()}
    by_rule = {PREFIX + name.upper(): setting for name, setting in table().items()}
    found: dict[str, Any] = {}
    for variable, text in environment.items():
        if not text:
            continue
        if variable in by_variable:
            setting = by_variable[variable]
            found[setting.name] = text.split(",") if setting.is_list else text
        elif variable.startswith(PREFIX) and variable not in OTHER_VARIABLES:
            other = by_rule.get(variable)
            near = other.variable if other else _nearest(variable, by_variable, 0.85)
            if near:
                raise UsageError(f"the variable {variable} is no setting; did you mean {near}?")
    return found


def _file(path: Path) -> dict[str, Any]:
    """The content of the file. Raises UsageError."""
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"--config {str(path)!r} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"--config {str(path)!r} is not TOML: {error}") from None
    for key in content:
        if key not in table():
            near = _nearest(key, table(), 0.6)
            advice = f"did you mean {near}?" if near else "`sumgrad serve --help` shows all"
            raise UsageError(f"{path}: {key} is no setting; {advice}")
    return content


def _nearest(name: str, names: Iterable[str], cutoff: float) -> str | None:
    return next(iter(difflib.get_close_matches(name, names, 1, cutoff)), None)


_MUST_BE = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    "string_type": "text",
    "path_type": "a path",
    "tuple_type": "a list",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
}
"""What a value must be, by the type of pydantic's error; for others it says so itself."""


def _sentences(error: ValidationError, source: Callable[[Setting], str]) -> Iterable[str]:
    """What is wrong with each value, where it comes from, and what it must be."""
    for found in error.errors(include_url=False):
        setting, context = table()[str(found["loc"][0])], found.get("ctx", {})
        must = _MUST_BE.get(found["type"]) or context.get("expected", found["msg"])
        got = "" if setting.is_secret else f", got {found['input']!r}"
        yield f"{source(setting)} must be {must.format(**context)}{got}"


def _check_secret(path: Path, store: str) -> None:
    """Raises UsageError if others can read a password."""
    if has_password(store) and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        raise UsageError(
            f"{path}: store holds a password and others can read the file; `chmod 600` it, or put "
            "the password into PGPASSWORD or PGPASSFILE"
        )
