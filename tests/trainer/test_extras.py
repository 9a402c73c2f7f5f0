"""An installation without extras: what it does, and how it names what it lacks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sumgrad.trainer.cli.exit_codes import ExitCode
from sumgrad.trainer.extras import EXTRAS, needs

from support.repository import EXAMPLES, ROOT

SERVICE = "error: this needs the service: pip install 'sumgrad[service]'"
DIGITS = str(EXAMPLES / "digits.toml")

NOWHERE = "127.0.0.1:1"
POSTGRES = f"postgresql://sumgrad@{NOWHERE}/sumgrad"


def run(state: Path, *arguments: str, missing: tuple[str, ...]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a program for which packages are missing."""
    done = subprocess.run(
        [sys.executable, "-m", "support.missing_packages", ",".join(missing), *arguments],
        cwd=ROOT / "tests",
        env={"PATH": "", "PYTHONPATH": str(ROOT / "src"), "SUMGRAD_STATE": str(state)},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr.strip()


ALL = tuple(package for packages in EXTRAS.values() for package in packages)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("serve",),
        ("run", DIGITS),
        ("run-job", DIGITS, "--output", "results"),
        ("token", "list"),
    ],
    ids=" ".join,
)
def test_a_command_that_needs_the_service_says_so_in_a_sentence(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    code, out, error = run(tmp_path, *arguments, missing=ALL)
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert error == SERVICE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--help",), ExitCode.OK, "submit"),
        (("list", "--address", NOWHERE), ExitCode.NO_SERVICE, f"no service answers at {NOWHERE}"),
        (("submit", DIGITS, "--address", NOWHERE), ExitCode.NO_SERVICE, "no service answers"),
        (("describe", DIGITS, "--input-shape", "8x8x1"), ExitCode.OK, "parameters"),
        (("gradcheck", str(EXAMPLES / "xor.toml")), ExitCode.OK, "all right"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_commands_that_need_no_service_work_without_extras(
    tmp_path: Path, arguments: tuple[str, ...], code: ExitCode, said: str
) -> None:
    found, out, error = run(tmp_path, *arguments, missing=ALL)
    assert found == code, error
    assert said in out + error


@pytest.mark.slow
def test_a_postgres_without_its_driver_is_named_with_the_line_that_installs_it(
    tmp_path: Path,
) -> None:
    code, _, error = run(tmp_path, "token", "list", "--store", POSTGRES, missing=("psycopg",))
    assert code == ExitCode.BAD_INPUT
    assert error.startswith(f"error: the run store {POSTGRES} needs the driver psycopg (")
    assert error.endswith("): pip install 'sumgrad[postgres]'")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "needed"),
    [
        ("fsspec", "the service: pip install 'sumgrad[service]'"),
        ("s3fs", "s3fs: pip install 'sumgrad[s3]'"),
    ],
)
def test_an_object_store_without_its_package_is_named_with_the_line_that_installs_it(
    tmp_path: Path, missing: str, needed: str
) -> None:
    code, _, error = run(tmp_path, "run", DIGITS, "--from", "s3://bucket/w", missing=(missing,))
    assert code == ExitCode.BAD_INPUT
    assert error == f"error: model.start_from: s3://bucket/w needs {needed}; or give a path."


def test_an_import_that_no_extra_brings_is_not_explained() -> None:
    assert needs(ModuleNotFoundError("No module named 'x'", name="x")) is None
    assert needs(ImportError("no name")) is None
    assert needs(ValueError("ray")) is None


def test_what_hid_a_failed_import_is_looked_behind() -> None:
    error = ImportError("install s3fs to access S3")
    error.__cause__ = ModuleNotFoundError("No module named 's3fs.core'", name="s3fs.core")
    assert needs(error) == "needs s3fs: pip install 'sumgrad[s3]'"
