"""Settings from options, variables and a file, and what follows from their table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.service.settings import Settings
from sumgrad.trainer.service.settings_sources import OTHER_VARIABLES, read_settings
from sumgrad.trainer.service.settings_table import table

SECRET = "postgresql://sumgrad:hunter2@db.example.org/runs"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "serve.toml"


def read(path: Path, content: str = "", environment: Any = (), **options: Any) -> Settings:
    path.write_text(content)
    return read_settings(options, path, dict(environment))


def refused(path: Path, content: str = "", environment: Any = (), **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        read(path, content, environment, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


EXAMPLES: dict[str, tuple[Any, str, str, Any]] = {
    # As an option, as a variable, in the file, and what all of them mean.
    "address": ("h:1", "h:1", '"h:1"', "h:1"),
    "metrics_address": ("h:1", "h:1", '"h:1"', "h:1"),
    "runner_address": ("h:1", "h:1", '"h:1"', "h:1"),
    "state": (Path("/s"), "/s", '"/s"', Path("/s")),
    "store": ("postgresql://h/d", "postgresql://h/d", '"postgresql://h/d"', "postgresql://h/d"),
    "max_runs_per_user": (3, "3", "3", 3),
    "max_cpus_per_user": (3, "3", "3", 3),
    "max_waiting_per_user": (3, "3", "3", 3),
    "max_priority": (-3, "-3", "-3", -3),
    "preemption": (False, "false", "false", False),
    "max_calls": (3, "3", "3", 3),
    "max_streams": (3, "3", "3", 3),
    "auth": (True, "1", "true", True),
    "tls_cert": (Path("c"), "c", '"c"', Path("c")),
    "tls_key": (Path("k"), "k", '"k"', Path("k")),
    "tls_client_ca": (Path("a"), "a", '"a"', Path("a")),
    "reflection": (False, "no", "false", False),
    "data_root": (["/a", "/b"], "/a,/b", '["/a", "/b"]', (Path("/a"), Path("/b"))),
    "snapshot_root": (["/a"], "/a", '["/a"]', (Path("/a"),)),
    "allow_location": (["s3://b/f"], "s3://b/f", '["s3://b/f"]', ("s3://b/f",)),
    "ray_address": ("http://h:1", "http://h:1", '"http://h:1"', "http://h:1"),
    "code": ("image", "image", '"image"', "image"),
    "advertise": ("h:1", "h:1", '"h:1"', "h:1"),
}


@pytest.mark.parametrize("name", table())
def test_option_variable_and_file_give_the_same_setting(path: Path, name: str) -> None:
    option, variable, content, meant = EXAMPLES[name]
    assert getattr(Settings(), name) != meant
    for found in (
        read(path, **{name: option}),
        read(path, environment={table()[name].variable: variable}),
        read(path, f"{name} = {content}"),
    ):
        assert getattr(found, name) == meant
        assert type(found) is Settings


def test_options_count_before_variables_and_variables_before_the_file(path: Path) -> None:
    content, environment = "max_calls = 1", {"SUMGRAD_MAX_CALLS": "2"}
    assert read(path).max_calls == 100
    assert read(path, content).max_calls == 1
    assert read(path, content, environment).max_calls == 2
    assert read(path, content, environment, max_calls=3).max_calls == 3


def test_the_defaults_hold_without_a_file() -> None:
    assert read_settings({}, None, {}) == Settings()


def test_an_empty_variable_does_not_count(path: Path) -> None:
    assert read(path, 'store = "postgresql://h/d"', {"SUMGRAD_STORE": ""}).store is not None


def test_the_address_of_clients_is_not_the_one_to_serve_at(path: Path) -> None:
    assert read(path, environment={"SUMGRAD_ADDRESS": "far.example.org:1"}) == Settings()


def test_no_setting_has_the_name_of_another_variable_of_ours() -> None:
    variables = {setting.variable for setting in table().values()}
    assert len(variables) == len(table())
    assert not variables & OTHER_VARIABLES


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"content": "max_calls = 0"}, "{path}: max_calls must be at least 1, got 0"),
        ({"content": "max_calls = true"}, "{path}: max_calls must be a whole number, got True"),
        (
            {"environment": {"SUMGRAD_MAX_CALLS": "many"}},
            "SUMGRAD_MAX_CALLS must be a whole number, got 'many'",
        ),
        (
            {"content": "max_priority = 2147483648"},
            "{path}: max_priority must be at most 2147483647",
        ),
        ({"content": "max_calls = 1.5"}, "{path}: max_calls must be a whole number, got 1.5"),
        ({"content": "address = 7433"}, "{path}: address must be text, got 7433"),
        ({"max_streams": 0}, "--max-streams must be at least 1, got 0"),
        ({"content": 'auth = "perhaps"'}, "{path}: auth must be true or false, got 'perhaps'"),
        ({"content": 'code = "git"'}, "{path}: code must be 'job' or 'image', got 'git'"),
        ({"content": 'data_root = "/a"'}, "{path}: data_root must be a list, got '/a'"),
        ({"content": "data_root = [1]"}, "{path}: data_root must be a path, got 1"),
        (
            {"content": "max_calls = 0", "max_streams": 0},
            "{path}: max_calls must be at least 1, got 0; --max-streams must be at least 1, got 0",
        ),
        ({"content": "max_call = 5"}, "{path}: max_call is no setting; did you mean max_calls?"),
        ({"content": "max-calls = 5"}, "{path}: max-calls is no setting; did you mean max_calls?"),
        ({"content": "x = 5"}, "{path}: x is no setting; `sumgrad serve --help` shows all"),
        (
            {"content": "temporary = true"},
            "{path}: temporary is no setting; `sumgrad serve --help` shows all",
        ),
        (
            {"environment": {"SUMGRAD_MAX_CALL": "5"}},
            "the variable SUMGRAD_MAX_CALL is no setting; did you mean SUMGRAD_MAX_CALLS?",
        ),
        (
            {"environment": {"SUMGRAD_RAY_ADDRESS": "http://h:1"}},
            "the variable SUMGRAD_RAY_ADDRESS is no setting; did you mean RAY_ADDRESS?",
        ),
        ({"content": "max_calls ="}, "--config '{path}' is not TOML: Invalid value"),
    ],
)
def test_an_error_names_its_source_the_value_and_what_to_do(
    path: Path, given: dict[str, Any], sentence: str
) -> None:
    assert refused(path, **given).startswith(sentence.format(path=path))


@pytest.mark.parametrize("name", [*sorted(OTHER_VARIABLES), "SUMGRAD_SOMETHING_ELSE", "PATH"])
def test_a_variable_that_is_like_no_setting_is_left_alone(path: Path, name: str) -> None:
    assert read(path, environment={name: "x"}) == Settings()


def test_a_file_that_is_not_there_is_named(path: Path) -> None:
    with pytest.raises(UsageError, match=r"serve.toml' cannot be read: No such file or directory"):
        read_settings({}, path, {})


def test_a_password_is_refused_on_the_command_line_and_in_a_file_that_others_read(
    path: Path,
) -> None:
    assert "PGPASSFILE" in refused(path, store=SECRET)
    content = f'store = "{SECRET}"'
    path.touch(0o644)
    said = refused(path, content)
    assert "chmod 600" in said
    assert "hunter2" not in said
    path.chmod(0o600)
    assert read(path, content).store == SECRET
    assert read(path, environment={"SUMGRAD_STORE": SECRET}).store == SECRET


def test_a_password_is_in_no_message_and_no_representation(path: Path) -> None:
    for said in (
        refused(path, f'store = ["{SECRET}"]'),
        repr(read(path, environment={"SUMGRAD_STORE": SECRET})),
    ):
        assert "hunter2" not in said
    with pytest.raises(ValidationError) as caught:
        Settings(store=SECRET, max_calls=0)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {"tls_cert": Path("c")},
        {"tls_key": Path("k")},
        {"tls_client_ca": Path("a")},
        {"tls_cert": Path("c"), "tls_client_ca": Path("a")},
    ],
)
def test_a_certificate_needs_its_key(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--tls-cert and --tls-key go together"):
        Settings(**given).check()
