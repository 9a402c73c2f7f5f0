"""What ``sumgrad`` offers by its name alone, and that it is loaded when it is used."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import sumgrad
from sumgrad.trainer import client

PUBLIC = {
    "sumgrad.layers": ["LAYERS", "LOSSES", "Layer", "Loss", "Network"],
    "sumgrad.trainer.client": [
        "AsyncClient",
        "AsyncRunHandle",
        "BusyError",
        "Client",
        "ClientError",
        "CursorExpiredError",
        "DamagedDownloadError",
        "ElsewhereError",
        "EndedError",
        "FilesError",
        "InvalidRequestError",
        "NoWeightsError",
        "NotAllowedError",
        "NotAuthenticatedError",
        "NotEndedError",
        "NotFoundError",
        "NotPausedError",
        "Point",
        "PreconditionError",
        "Prediction",
        "QueueFullError",
        "RequestConflictError",
        "RunHandle",
        "UnreachableError",
        "WaitTimeoutError",
        "WorkersError",
    ],
    "sumgrad.trainer.errors": ["UsageError"],
    "sumgrad.trainer.spec.violations": ["InvalidSpecError", "Violation"],
}
"""By module. A name that leaves this list breaks programs; one that joins it is a promise."""

NAMES = [(module, name) for module, names in PUBLIC.items() for name in names]


def source(module: ModuleType) -> ast.Module:
    assert module.__file__ is not None
    return ast.parse(Path(module.__file__).read_text())


def test_the_public_names_are_these() -> None:
    assert sorted(sumgrad.__all__) == sorted(["__version__", *(name for _, name in NAMES)])
    assert set(sumgrad.__all__) <= set(dir(sumgrad))


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_a_public_name_is_what_its_module_has(module: str, name: str) -> None:
    assert getattr(sumgrad, name) is getattr(importlib.import_module(module), name)


def test_all_that_the_client_offers_is_public() -> None:
    assert set(client.__all__) - {"read_spec"} == set(PUBLIC["sumgrad.trainer.client"])


def test_type_checkers_are_told_the_same_homes() -> None:
    told = {
        (node.module, alias.name)
        for node in ast.walk(source(sumgrad))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sumgrad.")
        for alias in node.names
    }
    assert told == set(NAMES)
    assert Path(str(sumgrad.__file__)).with_name("py.typed").is_file()


def test_the_version_is_the_distributions() -> None:
    assert sumgrad.__version__ == importlib.metadata.version("sumgrad")


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'sumgrad' has no attribute 'Clint'"):
        sumgrad.Clint  # noqa: B018
    with pytest.raises(ImportError):
        exec("from sumgrad import Clint")


def test_nothing_is_loaded_before_it_is_used() -> None:
    script = "import sys, sumgrad; print(*(m for m in sys.modules if m.startswith('sumgrad.')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "")
