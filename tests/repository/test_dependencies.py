"""The walls: who may import whom, read from the sources."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from support.import_graph import (
    OURS,
    Graph,
    circle,
    graph,
    imported,
    inside,
    reached,
    sources,
)
from support.repository import ROOT

MAX_LINES = 400

STANDARD = tuple(sys.stdlib_module_names)

IO = (
    *("asyncio", "concurrent", "fcntl", "fsspec", "grpc", "http", "io", "logging"),
    *("multiprocessing", "os", "pathlib", "prometheus_client", "ray", "select", "selectors"),
    *("shutil", "signal", "socket", "socketserver", "sqlalchemy", "sqlite3", "ssl", "subprocess"),
    *("tempfile", "threading", "time", "urllib", "zmq"),
)
"""Libraries that read clocks, files or the environment, that wait, or that talk to processes."""

ALL = ("*",)
"""Every module there is, ours or not."""

US = ("sumgrad", *OURS)
"""Every module of ours."""


@dataclass(frozen=True)
class Wall:
    """No module in ``rooms`` imports anything in ``shut``.

    Attributes:
        open: exceptions from ``shut``.
        doors: exceptions from ``rooms``.
        far: no module may lead there over any number of imports, instead of over one.
        wrong: a module, and a line that the wall forbids there.
    """

    rooms: tuple[str, ...]
    shut: tuple[str, ...]
    wrong: tuple[str, str]
    open: tuple[str, ...] = ()
    doors: tuple[str, ...] = ()
    far: bool = False


WALLS = {
    "layers import layers, NumPy and SciPy": Wall(
        rooms=("layers",),
        shut=ALL,
        open=("layers", "numpy", "scipy", *STANDARD),
        wrong=("layers.affine", "from sumgrad.workers.job import Job"),
    ),
    "workers import layers, and nothing of the trainer": Wall(
        rooms=("workers",),
        shut=US,
        open=("workers", "layers"),
        wrong=("workers.worker", "from sumgrad.trainer.errors import UsageError"),
    ),
    "the arithmetic imports layers and the summation tree": Wall(
        rooms=("trainer.arithmetic",),
        shut=US,
        open=("trainer.arithmetic", "layers", "workers.summation_tree"),
        wrong=("trainer.arithmetic.reduction", "from sumgrad.workers import sampling"),
    ),
    "snapshots know neither the server nor messages": Wall(
        rooms=("trainer.snapshots",),
        shut=(*US, "google", "grpc", "pickle", "ray"),
        open=(
            "trainer.snapshots",
            "trainer.durable_file",
            "trainer.extras",
            "layers.base.arrays",
            "workers.host.allowed_paths",
        ),
        wrong=("trainer.snapshots.background_writer", "from sumgrad.trainer.v1 import run_pb2"),
    ),
    "the client knows messages, specifications, records and leaves": Wall(
        rooms=("trainer.client",),
        shut=US,
        open=(
            *("trainer.client", "trainer.v1", "trainer.spec", "trainer.record"),
            *("trainer.addresses", "trainer.durable_file", "trainer.errors"),
            "trainer.token_format",
        ),
        wrong=("trainer.client.connection", "from sumgrad.trainer.service.access import tokens"),
    ),
    "leaves import no room": Wall(
        rooms=(
            *("trainer.addresses", "trainer.durable_file", "trainer.errors", "trainer.host"),
            "trainer.token_format",
        ),
        shut=US,
        open=("trainer.errors",),
        wrong=("trainer.addresses", "from sumgrad.trainer.spec.parse import parse"),
    ),
    "the service is for the verbs that start or administer it": Wall(
        rooms=US,
        shut=("trainer.service",),
        doors=(
            "trainer.service",
            "trainer.runner.run_job",
            "trainer.cli.own_service",
            *(f"trainer.cli.verbs.{verb}" for verb in ("run", "serve", "token")),
        ),
        wrong=("trainer.cli.app", "from sumgrad.trainer.service.settings import Settings"),
    ),
    "decisions are made without I/O": Wall(
        rooms=(
            "trainer.runner.attempt",
            "trainer.server.rounds.dispatch",
            "trainer.server.rounds.gathering",
            "trainer.server.rounds.membership",
            "trainer.service.cluster.attempt_policy",
            "trainer.service.queue",
            "trainer.service.runs.transitions",
        ),
        shut=IO,
        far=True,
        wrong=(
            "trainer.service.queue.scheduling",
            "from sumgrad.trainer.service.cluster.launcher import Launcher",
        ),
    ),
    "our modules are imported from where they are": Wall(
        rooms=OURS,
        shut=("sumgrad",),
        wrong=("trainer.cli.app", "from sumgrad import Client"),
    ),
    # Packages of others.
    "the runner and the service's own cluster know Ray": Wall(
        rooms=US,
        shut=("ray",),
        doors=(
            "trainer.runner",
            "trainer.service.cluster.launcher",
            "trainer.service.cluster.local_ray",
        ),
        wrong=("trainer.server.rounds.rounds", "import ray.exceptions"),
    ),
    "the two ends of an RPC know gRPC": Wall(
        rooms=US,
        shut=("grpc",),
        doors=("trainer.client", "trainer.runner.upstream", "trainer.service", "trainer.v1"),
        wrong=("trainer.server.parameter_server", "import grpc"),
    ),
    "one module knows Prometheus": Wall(
        rooms=US,
        shut=("prometheus_client",),
        doors=("trainer.service.prometheus",),
        wrong=("trainer.service.service", "from prometheus_client import Counter"),
    ),
    "the store's tables know SQLAlchemy": Wall(
        rooms=US,
        shut=("sqlalchemy",),
        doors=(
            *(
                f"trainer.service.store.{module}"
                for module in ("database", "migration", "migrations", "run_store", "schema")
            ),
            "trainer.service.access.token_store",
            "trainer.service.takeover.postgres_locks",
        ),
        wrong=("trainer.service.runs.runs", "import sqlalchemy as sa"),
    ),
    "the store's migrations know Alembic": Wall(
        rooms=US,
        shut=("alembic",),
        doors=("trainer.service.store.migration", "trainer.service.store.migrations"),
        wrong=("trainer.service.store.database", "import alembic.operations"),
    ),
    "one module knows SQLite": Wall(
        rooms=US,
        shut=("sqlite3",),
        doors=("trainer.service.store.database",),
        wrong=("trainer.service.store.run_store", "import sqlite3"),
    ),
    "one module knows fsspec": Wall(
        rooms=US,
        shut=("fsspec",),
        doors=("trainer.snapshots.object_folder",),
        wrong=("trainer.snapshots.folder", "import fsspec"),
    ),
    "the command line alone draws on the terminal": Wall(
        rooms=US,
        shut=("rich", "typer"),
        doors=("trainer.cli",),
        wrong=("trainer.study.describe", "from rich.table import Table"),
    ),
    "PyTorch and ONNX are oracles and rivals": Wall(
        rooms=US,
        shut=("onnx", "torch"),
        wrong=("layers.relu", "import torch"),
    ),
}


@functools.cache
def ours() -> dict[str, set[str]]:
    return graph()


def breaches(wall: Wall, graph: Graph) -> set[str]:
    """The ways over the wall, each as one line."""
    found = set()
    for module in graph:
        if inside(module, wall.rooms) and not inside(module, wall.doors):
            ways = reached(graph, module) if wall.far else dict.fromkeys(graph[module], module)
            found |= {
                _way(name, ways)
                for name in ways
                if (wall.shut == ALL or inside(name, wall.shut)) and not inside(name, wall.open)
            }
    return found


def _way(name: str, by: dict[str, str]) -> str:
    steps = [name]
    while steps[-1] in by:
        steps.append(by[steps[-1]])
    return " -> ".join(reversed(steps))


@pytest.mark.slow
@pytest.mark.parametrize("name", WALLS)
def test_nothing_gets_over_a_wall(name: str) -> None:
    assert not breaches(WALLS[name], ours())


@pytest.mark.parametrize("name", WALLS)
def test_a_wrong_import_is_found(name: str) -> None:
    module, line = WALLS[name].wrong
    wrong = {**ours(), module: imported(line, sources())}
    assert {way.partition(" -> ")[0] for way in breaches(WALLS[name], wrong)} >= {module}


@pytest.mark.parametrize("name", WALLS)
def test_what_a_wall_is_between_exists(name: str) -> None:
    wall = WALLS[name]
    rooms = {*wall.rooms, *(room for room in wall.shut if inside(room, US))}
    assert not {room for room in rooms if not any(inside(one, (room,)) for one in ours())}


@pytest.mark.parametrize("name", [name for name, wall in WALLS.items() if wall.doors])
def test_a_wall_has_doors_because_modules_go_through(name: str) -> None:
    assert breaches(replace(WALLS[name], doors=()), ours())


def test_a_far_wall_is_found_to_be_breached_by_way_of_others() -> None:
    wall = Wall(("a",), ("os",), ("", ""), far=True)
    chain = {"a": {"b"}, "b": {"c.d"}, "c.d": {"os.path"}, "e": {"os"}}
    assert breaches(wall, chain) == {"a -> b -> c.d -> os.path"}
    assert not breaches(replace(wall, far=False), chain)


# --- what is imported -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("import ray", {"ray"}),
        ("import ray.util as u, numpy", {"ray.util", "numpy"}),
        ("from ray.job_submission import X", {"ray.job_submission"}),
        ("import sumgrad.trainer.errors", {"trainer.errors"}),
        ("from sumgrad.trainer.errors import UsageError", {"trainer.errors"}),
        ("from sumgrad.trainer import errors, nothing", {"trainer.errors", "trainer"}),
        ("from sumgrad import trainer, Client", {"trainer", "sumgrad"}),
        ("def f():\n    import ray", {"ray"}),
        ("if TYPE_CHECKING:\n    from trainer import x", {"trainer"}),
        ("from . import x", {"."}),
        ("from ..a import x", {"..a"}),
        ("'import ray'", set()),
    ],
)
def test_imports_are_found_wherever_they_stand(source: str, modules: set[str]) -> None:
    assert imported(source, {"trainer", "trainer.errors"}) == modules


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("import a", {"a"}),
        ("try:\n    import a\nexcept ImportError:\n    import b", {"a", "b"}),
        ("class C:\n    import a", {"a"}),
        ("if x:\n    import a", {"a"}),
        ("def f():\n    import a", set()),
        ("async def f():\n    import a", set()),
        ("if TYPE_CHECKING:\n    import a", set()),
        ("if typing.TYPE_CHECKING:\n    import a", set()),
    ],
)
def test_what_a_function_imports_is_not_imported_with_its_module(
    source: str, modules: set[str]
) -> None:
    assert imported(source, at_import=True) == modules


def test_there_are_modules_to_read() -> None:
    counts = [sum(inside(name, (folder,)) for name in ours()) for folder in OURS]
    assert all(count > 30 for count in counts)


def test_imports_are_absolute() -> None:
    assert not {name for found in ours().values() for name in found if name.startswith(".")}


@pytest.mark.slow
def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(graph(at_import=True)) == []


def test_a_circle_is_found() -> None:
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}
    assert circle({"a": {"b", "c"}, "b": {"c"}}) == []


# --- ray.remote -----------------------------------------------------------------------------------


def uses_ray_remote(source: str) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and node.attr == "remote"
        and isinstance(node.value, ast.Name)
        and node.value.id == "ray"
        for node in ast.walk(ast.parse(source))
    )


def test_ray_remote_is_found_as_decorator_and_as_call() -> None:
    assert uses_ray_remote("@ray.remote\nclass A: pass")
    assert uses_ray_remote("A = ray.remote(num_cpus=1)(B)")
    assert not uses_ray_remote("actor.work.remote()")


@pytest.mark.slow
def test_ray_remote_stands_in_one_file() -> None:
    found = {name for name, path in sources().items() if uses_ray_remote(path.read_text())}
    assert found == {"trainer.runner.actors"}


# --- files ----------------------------------------------------------------------------------------

WITH_SOURCES = (*OURS, "src", "benchmarks", "examples", "tools")
MADE_FROM_ANOTHER = ("trainer/client/_sync",)


def by_hand(paths: Iterable[Path]) -> Iterator[Path]:
    """Those that nothing generates."""
    for path in paths:
        in_a_copy = any(path.is_relative_to(folder) for folder in MADE_FROM_ANOTHER)
        if "_pb2" not in path.name and not in_a_copy:
            yield path


def long(root: Path, paths: Iterable[Path]) -> set[str]:
    """Files that are longer than MAX_LINES."""
    counts = {path: len((root / path).read_text().splitlines()) for path in paths}
    return {f"{path}: {lines} lines" for path, lines in counts.items() if lines > MAX_LINES}


def test_no_source_is_long() -> None:
    paths = [path for folder in WITH_SOURCES for path in (ROOT / folder).rglob("*.py")]
    found = list(by_hand(path.relative_to(ROOT) for path in paths))
    assert len(found) > 200
    assert not long(ROOT, found)


def test_a_long_file_is_found_unless_it_is_generated(tmp_path: Path) -> None:
    names = ["a.py", "b_pb2.py", "trainer/client/_sync/c.py", "trainer/client/_async/d.py", "e.py"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n" * (MAX_LINES + (name != "e.py")))
    assert long(tmp_path, by_hand(map(Path, names))) == {
        "a.py: 401 lines",
        "trainer/client/_async/d.py: 401 lines",
    }


def test_proto_holds_proto_files_only() -> None:
    found = [path for path in (ROOT / "proto").rglob("*") if path.is_file()]
    assert found
    assert {path.suffix for path in found} == {".proto"}
