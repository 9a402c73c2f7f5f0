"""What a program loads with the client: gRPC, protobuf and NumPy, and little of ours."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from sumgrad.trainer.extras import EXTRAS

from support.repository import EXAMPLES, ROOT

LEFT_OUT = {*(package for packages in EXTRAS.values() for package in packages), "aiohttp", "torch"}

# gRPC itself looks for them, to offer what is there as an attribute.
TRIED_BY_GRPC = {"grpc_channelz", "grpc_health", "grpc_reflection", "grpc_status", "grpc_tools"}

CLIENT = {"addresses", "client", "durable_file", "errors", "record", "spec", "token_format", "v1"}
"""The rooms of ``sumgrad.trainer`` that calling a service takes."""

SUBMIT = f"""
from sumgrad.trainer.client import requests
message = requests.submission(requests.read_spec({str(EXAMPLES / "digits.toml")!r}), None, None, 0)
assert message.spec.name == "digits"
"""


def loaded(program: str) -> set[str]:
    """The modules that a program of its own ends up with, beside those that it begins with."""
    script = f"import sys; before = set(sys.modules)\n{program}\nprint(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def rooms(modules: set[str], package: str) -> set[str]:
    """``client`` of ``sumgrad.trainer.client.errors``, for the package ``sumgrad.trainer``."""
    start = f"{package}."
    return {m.removeprefix(start).partition(".")[0] for m in modules if m.startswith(start)}


def packages(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def test_the_client_imports_these_rooms_and_nothing_else_of_ours() -> None:
    found = {
        node.module
        for path in (ROOT / "trainer" / "client").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sumgrad.")
    }
    assert rooms(found, "sumgrad") == {"trainer"}
    assert rooms(found, "sumgrad.trainer") == CLIENT
    assert "sumgrad.trainer.spec.fit" not in found  # which opens data


@pytest.mark.slow
def test_the_client_loads_nothing_that_trains_and_no_specification() -> None:
    modules = loaded("from sumgrad import AsyncClient, Client, ClientError, RunHandle")
    assert rooms(modules, "sumgrad") == {"trainer"}
    assert rooms(modules, "sumgrad.trainer") == CLIENT
    assert not packages(modules) & (LEFT_OUT | {"pydantic", "scipy"}) - TRIED_BY_GRPC


@pytest.mark.slow
def test_a_submission_loads_what_checks_a_specification_and_nothing_that_trains() -> None:
    modules = loaded(f"from sumgrad import Client\n{SUBMIT}")
    assert rooms(modules, "sumgrad") == {"layers", "trainer", "workers"}
    assert rooms(modules, "sumgrad.trainer") == CLIENT | {"arithmetic"}
    assert "sumgrad.workers.worker" not in modules
    assert not packages(modules) & LEFT_OUT - TRIED_BY_GRPC


@pytest.mark.slow
@pytest.mark.parametrize("left_out", ["fsspec", "sqlalchemy"])
def test_a_package_that_is_loaded_is_found(left_out: str) -> None:
    assert left_out in packages(loaded(f"import {left_out}"))
