"""What pyproject.toml asks for is what the code imports, in the part that imports it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator

import pytest

from sumgrad.trainer.extras import EXTRAS

from support.repository import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

DISTRIBUTIONS = {
    "google": "protobuf",
    "grpc": "grpcio",
    "grpc_health": "grpcio-health-checking",
    "pydantic_core": "pydantic",
    "sklearn": "scikit-learn",
    "zmq": "pyzmq",
}
"""What brings a package, where its name differs in more than its dashes."""

LOADED_BY_OTHERS = {"psycopg", "s3fs"}
"""SQLAlchemy and fsspec import them by the form of an address."""


def distribution(package: str) -> str:
    return DISTRIBUTIONS.get(package) or re.sub("^grpc_", "grpcio-", package).replace("_", "-")


def required(requirements: list[str]) -> dict[str, str]:
    """The least version of each distribution."""
    found = (re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", text) for text in requirements)
    return {match[1]: match[2] for match in found if match}


BASE = required(PROJECT["dependencies"])
EXTRA = {name: required(listed) for name, listed in PROJECT["optional-dependencies"].items()}


def imported() -> set[str]:
    """The packages of others that the sources import, wherever in a file."""
    modules: set[str] = set()
    for folder in ("layers", "workers", "trainer"):
        for path in (ROOT / folder).rglob("*.py"):
            modules |= set(_modules(ast.parse(path.read_text())))
    packages = {module.partition(".")[0] for module in modules}
    return packages - set(sys.stdlib_module_names) - {"sumgrad"}


def _modules(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_the_names_of_distributions_are_those_of_their_packages() -> None:
    assert distribution("grpc_status") == "grpcio-status"
    assert distribution("prometheus_client") == "prometheus-client"
    assert distribution("sklearn") == "scikit-learn"


@pytest.mark.slow
def test_the_base_asks_for_what_is_imported_and_no_extra_brings() -> None:
    extras = {package for packages in EXTRAS.values() for package in packages}
    assert {distribution(package) for package in imported() - extras} == BASE.keys()


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_brings_the_packages_that_its_name_stands_for(extra: str) -> None:
    assert {distribution(package) for package in EXTRAS[extra]} == EXTRA[extra].keys()


@pytest.mark.slow
def test_every_package_of_an_extra_is_imported() -> None:
    extras = {package for packages in EXTRAS.values() for package in packages}
    assert extras - imported() == LOADED_BY_OTHERS


def test_tests_run_with_everything_installed() -> None:
    assert f"sumgrad[{','.join(EXTRAS)}]" in PROJECT["optional-dependencies"]["test"]


def test_ray_is_one_whose_dashboard_lets_no_page_delete_jobs() -> None:
    assert tuple(map(int, EXTRA["service"]["ray"].split("."))) >= (2, 54)
