"""Who may import whom, read from the source."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator

import pytest

from support.repository import ROOT

OURS = {"layers", "workers", "trainer"}
STANDARD = set(sys.stdlib_module_names)


def imported(source: str) -> set[str]:
    """Every module that a file imports, wherever in it; relative imports begin with a dot."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    return found


def uses_ray_remote(source: str) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and node.attr == "remote"
        and isinstance(node.value, ast.Name)
        and node.value.id == "ray"
        for node in ast.walk(ast.parse(source))
    )


def files(folder: str) -> Iterator[tuple[str, str]]:
    """Path from the root, and source, of every file of ours that was not generated."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        if "_pb2" not in path.name:
            yield str(path.relative_to(ROOT)), path.read_text()


@functools.cache
def packages(folder: str) -> dict[str, set[str]]:
    """The top-level packages that each file imports."""
    return {path: set(map(package, imported(source))) for path, source in files(folder)}


def package(module: str) -> str:
    """``layers`` of ``sumgrad.layers.affine``, ``numpy`` of ``numpy.linalg``."""
    first, _, rest = module.partition(".")
    return rest.partition(".")[0] if first == "sumgrad" and rest else first


def importers(package: str) -> set[str]:
    """Files that import a package."""
    return {path for folder in OURS for path, found in packages(folder).items() if package in found}


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("import ray", {"ray"}),
        ("import ray.util as u, numpy", {"ray.util", "numpy"}),
        ("from ray.job_submission import X", {"ray.job_submission"}),
        ("def f():\n    import ray", {"ray"}),
        ("if TYPE_CHECKING:\n    from trainer import x", {"trainer"}),
        ("from . import x", {"."}),
        ("from ..a import x", {"..a"}),
        ("'import ray'", set()),
    ],
)
def test_imports_are_found_wherever_they_stand(source: str, modules: set[str]) -> None:
    assert imported(source) == modules


def test_ray_remote_is_found_as_decorator_and_as_call() -> None:
    assert uses_ray_remote("@ray.remote\nclass A: pass")
    assert uses_ray_remote("A = ray.remote(num_cpus=1)(B)")
    assert not uses_ray_remote("actor.work.remote()")


def test_there_are_files_to_read() -> None:
    assert all(len(packages(folder)) > 5 for folder in OURS)


def test_layers_import_numpy_scipy_and_the_standard_library() -> None:
    for path, found in packages("layers").items():
        assert found <= STANDARD | {"layers", "numpy", "scipy"}, path


def test_workers_import_layers_but_not_the_trainer() -> None:
    for path, found in packages("workers").items():
        assert "trainer" not in found, path


def test_imports_are_absolute() -> None:
    for folder in OURS:
        for path, source in files(folder):
            assert not [module for module in imported(source) if module.startswith(".")], path


def test_ray_remote_stands_in_one_file() -> None:
    found = {path for folder in OURS for path, source in files(folder) if uses_ray_remote(source)}
    assert found == {"trainer/runner/actors.py"}


def test_only_the_runner_and_the_launcher_know_ray() -> None:
    allowed = {"trainer/service/cluster/launcher.py", "trainer/service/cluster/local_ray.py"}
    found = importers("ray")
    assert {path for path in found if not path.startswith("trainer/runner/")} <= allowed
    assert "trainer/runner/actors.py" in found


def test_one_module_knows_prometheus() -> None:
    assert importers("prometheus_client") == {"trainer/service/prometheus.py"}


def test_the_run_store_alone_knows_sqlalchemy() -> None:
    files = ("database", "schema", "run_store")
    assert importers("sqlalchemy") == {
        *(f"trainer/service/store/{file}.py" for file in files),
        "trainer/service/access/token_store.py",
        "trainer/service/takeover/postgres_locks.py",
    }
    assert not importers("sqlite3") - {"trainer/service/store/database.py"}


def test_one_module_knows_fsspec() -> None:
    assert importers("fsspec") == {"trainer/snapshots/object_folder.py"}


def test_snapshots_know_neither_the_server_nor_messages() -> None:
    for path, source in files("trainer/snapshots"):
        ours = {module for module in imported(source) if module.partition(".")[0] in OURS}
        allowed = {
            "sumgrad.layers.base.arrays",
            "sumgrad.trainer.snapshots",
            "sumgrad.workers.host.allowed_paths",
        }
        assert {m for m in ours if not m.startswith("sumgrad.trainer.snapshots.")} <= allowed, path
        assert not packages("trainer/snapshots")[path] & {"ray", "grpc", "google", "pickle"}, path


IO = {"asyncio", "grpc", "os", "ray", "sqlalchemy", "time", "zmq"}


@pytest.mark.parametrize("name", ["deadlines", "dispatch", "gathering", "membership"])
def test_what_decides_about_rounds_does_no_io(name: str) -> None:
    assert not packages("trainer/server")[f"trainer/server/rounds/{name}.py"] & IO


def test_the_arithmetic_imports_layers_and_the_summation_tree_only() -> None:
    allowed = ("sumgrad.layers", "sumgrad.trainer.arithmetic.", "sumgrad.workers.summation_tree")
    for path, source in files("trainer/arithmetic"):
        ours = {module for module in imported(source) if module.startswith("sumgrad.")}
        assert all(module.startswith(allowed) for module in ours), path


def test_the_arithmetic_knows_neither_ray_nor_grpc() -> None:
    trainer = ("trainer/server", "trainer/arithmetic")
    for folder in ("layers", "workers", *trainer):
        for path, found in packages(folder).items():
            assert not found & {"ray", "grpc"}, path


def test_proto_holds_proto_files_only() -> None:
    found = [path for path in (ROOT / "proto").rglob("*") if path.is_file()]
    assert found
    assert {path.suffix for path in found} == {".proto"}
