"""The command as a whole: its verbs, what starting it loads, and the exit code of each error."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sumgrad.trainer.cli import app as command_line
from sumgrad.trainer.cli.exit_codes import ExitCode
from sumgrad.trainer.client import ClientError, UnreachableError
from sumgrad.trainer.client.weights_download import DamagedDownloadError
from sumgrad.trainer.errors import UnavailableError, UsageError
from sumgrad.trainer.record.verification import CannotVerifyError
from sumgrad.trainer.service.cluster.ray_api import RayUnreachableError
from sumgrad.trainer.service.store.store_errors import StoreUnavailableError
from sumgrad.trainer.spec.violations import InvalidSpecError, Violation

HEAVY = (
    "ray",
    "grpc",
    "numpy",
    "scipy",
    "sqlalchemy",
    "fsspec",
    "zmq",
    "sklearn",
    "pydantic_settings",
)
SERVER = ("sumgrad.trainer.service.service", "sumgrad.trainer.server", "sumgrad.trainer.runner")


def loaded(*arguments: str) -> set[str]:
    """The modules that the command has loaded when it ends."""
    code = f"""
import atexit, sys
atexit.register(lambda: print(*sys.modules, sep="\\n", file=sys.stderr))
from sumgrad.trainer.cli.app import main
sys.argv = {["sumgrad", *arguments]!r}
main()
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    return set(ended.stderr.splitlines())


def below(modules: set[str], packages: tuple[str, ...]) -> set[str]:
    return {m for m in modules if any(m == p or m.startswith(f"{p}.") for p in packages)}


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("--help",), ("serve", "--help"), ("list", "--help")])
def test_help_loads_neither_ray_nor_grpc_nor_numpy(arguments: tuple[str, ...]) -> None:
    modules = loaded(*arguments)
    assert "sumgrad.trainer.cli.verbs.serve" in modules
    assert not below(modules, HEAVY + SERVER)


@pytest.mark.slow
def test_a_verb_that_talks_to_a_service_loads_neither_ray_nor_a_server() -> None:
    modules = loaded("list", "--address", "127.0.0.1:1")
    assert "grpc" in modules
    assert not below(modules, ("ray", "sqlalchemy", *SERVER))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no"), ExitCode.BAD_INPUT),
        (StoreUnavailableError("no"), ExitCode.BAD_INPUT),
        (CannotVerifyError("no"), ExitCode.BAD_INPUT),
        (DamagedDownloadError("no"), ExitCode.BAD_INPUT),
        (ClientError("no"), ExitCode.BAD_INPUT),
        (UnreachableError("no"), ExitCode.NO_SERVICE),
        (UnavailableError("no"), ExitCode.NO_SERVICE),
        (RayUnreachableError("no"), ExitCode.NO_SERVICE),
        (InvalidSpecError([Violation("", "no")]), ExitCode.BAD_INPUT),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (SystemExit(4), ExitCode.RUN_CANCELLED),
    ],
)
def test_each_error_has_its_exit_code_and_one_sentence(
    error: BaseException,
    code: ExitCode,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(command_line, "app", fail)
    assert command_line.run() == code
    said = capsys.readouterr().err
    if isinstance(error, Exception):
        assert said.startswith("error: ")
        assert said.endswith("no\n")


def test_an_unexpected_error_is_reported_as_a_mistake_and_raised_for_debugging(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(command_line, "app", fail)
    monkeypatch.delenv("SUMGRAD_DEBUG", raising=False)
    assert command_line.run() == ExitCode.INTERNAL_ERROR
    assert "internal error: ZeroDivisionError: by zero" in capsys.readouterr().err
    monkeypatch.setenv("SUMGRAD_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        command_line.run()
