"""``sumgrad serve``: its settings from options, variables and a file, and what it prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sumgrad.trainer.cli.exit_codes import ExitCode
from sumgrad.trainer.cli.verbs import serve
from sumgrad.trainer.service.settings import Settings
from sumgrad.trainer.service.settings_table import Setting, table

from support.command_line import Sumgrad


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that services would have been started with."""
    started: list[Settings] = []

    async def start(settings: Settings) -> None:
        started.append(settings)

    monkeypatch.setattr(serve, "_serve", start)
    for setting in table().values():
        monkeypatch.delenv(setting.variable, raising=False)
    return started


def given(setting: Setting) -> tuple[list[str], Any]:
    """The option with a value that is not its default, and what that means."""
    default = setting.default
    if isinstance(default, bool):
        return [setting.flag if not default else f"--no-{setting.flag[2:]}"], not default
    example = setting.option.example
    if setting.name == "code":
        return ["--code", "image"], "image"
    if isinstance(default, int) or isinstance(example, int):
        return [setting.flag, "7"], 7
    if setting.is_list:
        kind = str if setting.name == "allow_location" else Path
        values = [*example, "/other"]
        return [x for value in values for x in (setting.flag, value)], tuple(map(kind, values))
    value = "192.0.2.9:9" if example is None else example
    return [setting.flag, value], value


@pytest.mark.parametrize("name", table())
def test_every_setting_is_an_option(name: str, sumgrad: Sumgrad, started: list[Settings]) -> None:
    arguments, meant = given(table()[name])
    if name == "metrics_address":
        arguments, meant = ["--metrics-address", "h:1"], "h:1"
    ended = sumgrad("serve", *arguments)
    assert (ended.code, ended.err) == (ExitCode.OK, "")
    [settings] = started
    found = getattr(settings, name)
    assert (str(found) if isinstance(found, Path) else found) == meant
    assert found != getattr(Settings(), name)


def test_options_count_before_variables_and_the_file(
    sumgrad: Sumgrad, started: list[Settings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "serve.toml"
    path.write_text('max_calls = 1\nmax_streams = 1\nauth = true\nstate = "/from/the/file"\n')
    monkeypatch.setenv("SUMGRAD_MAX_CALLS", "2")
    monkeypatch.setenv("SUMGRAD_MAX_STREAMS", "2")
    monkeypatch.setenv("SUMGRAD_ADDRESS", "service.example.org:1")
    sumgrad("serve", "--config", str(path), "--max-calls", "3", "--no-auth")
    monkeypatch.setenv("SUMGRAD_CONFIG", str(path))
    sumgrad("serve", "--max-calls", "3", "--no-auth")
    for settings in started:
        assert (settings.max_calls, settings.max_streams, settings.auth) == (3, 2, False)
        assert settings.state == Path("/from/the/file")
        assert settings.address == Settings().address
    assert len(started) == 2


def test_without_anything_the_defaults_hold(sumgrad: Sumgrad, started: list[Settings]) -> None:
    sumgrad("serve")
    assert started == [Settings()]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-calls", "0"], "error: --max-calls must be at least 1, got 0\n"),
        (["--tls-cert", "c.pem"], "error: --tls-cert and --tls-key go together"),
        (["--address", "0.0.0.0:1"], "error: '0.0.0.0:1' can be reached from other machines"),
        (["--config", "nowhere.toml"], "error: --config 'nowhere.toml' cannot be read"),
        (["--store", "postgresql://a:hunter2@h/d"], "error: --store must not hold a password"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    arguments: list[str], said: str, sumgrad: Sumgrad, tmp_path: Path
) -> None:
    ended = sumgrad("serve", "--state", str(tmp_path), *arguments)
    assert ended.code == ExitCode.BAD_INPUT
    assert ended.err.startswith(said)
    assert "hunter2" not in ended.err


def test_tokens_are_made_in_the_store_that_the_file_names(
    sumgrad: Sumgrad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUMGRAD_STATE", raising=False)
    path = tmp_path / "serve.toml"
    path.write_text(f'state = "{tmp_path / "here"}"\n')
    made = sumgrad("token", "create", "--user", "ann", "--role", "viewer", "--config", str(path))
    assert made.code == ExitCode.OK
    [token] = sumgrad("token", "list", "--json", "--state", str(tmp_path / "here")).json()
    assert token["user"] == "ann"
    assert made.out.split("_")[1] == token["id"]
