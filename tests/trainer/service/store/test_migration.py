"""Databases of earlier versions are brought forward with all they hold, or stay as they were."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import DecodeError
from sqlalchemy import URL, Engine, Integer, MetaData, create_engine, inspect, text

from sumgrad.trainer.service.api.run_filter import RunFilter
from sumgrad.trainer.service.store.database import postgres_engine
from sumgrad.trainer.service.store.migration import MIGRATIONS
from sumgrad.trainer.service.store.run_store import RunStore
from sumgrad.trainer.service.store.schema import METADATA, REVISION
from sumgrad.trainer.service.store.store_errors import StoreError
from sumgrad.trainer.v1 import run_pb2

from support.postgres_server import PostgresServer
from support.services import append

SAMPLES = Path(__file__).with_name("samples")
NEWEST_BEFORE_ALEMBIC = 3

NULLABLE_ROW_NUMBER = ("modify_nullable", None, "runs", "number")

SchemaOf = Callable[[Path | str], MetaData]


class Sample(NamedTuple):
    """A database of an earlier version.

    Attributes:
        held: what the code of that version read from it.
    """

    place: Path | str
    held: dict[str, Any]


def sample_of(kind: str, version: int, place: Path | str) -> Sample:
    """Make the database at a place that has none."""
    statements = (SAMPLES / f"version-{version}.{kind}.sql").read_text()
    execute(place, statements)
    return Sample(place, json.loads((SAMPLES / f"version-{version}.json").read_text()))


def execute(place: Path | str, statements: str) -> None:
    """Run statements without any code of the run store."""
    if isinstance(place, str):
        with psycopg.connect(place) as connection:
            connection.execute(statements.encode())
        return
    place.parent.mkdir(exist_ok=True)
    database = sqlite3.connect(place)
    database.executescript(statements)
    database.close()


def kinds_and_versions() -> list[tuple[str, int]]:
    found = []
    for file in sorted(SAMPLES.glob("*.sql")):
        version, kind, _ = file.name.removeprefix("version-").split(".")
        found.append((kind, int(version)))
    return found


@pytest.fixture(params=kinds_and_versions(), ids=lambda each: f"{each[0]}-{each[1]}")
def sample(request: pytest.FixtureRequest, path: Path) -> Sample:
    kind, version = request.param
    if kind == "sqlite":
        return sample_of(kind, version, path)
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return sample_of(kind, version, server.new_store())


def content(store: RunStore) -> dict[str, Any]:
    """All that a store holds, in the samples' form."""
    return {
        "runs": [
            {
                "number": stored.number,
                "service": stored.service,
                "sequence": stored.sequence,
                "reported": stored.reported,
                "token": stored.token,
                "run": MessageToDict(stored.run, preserving_proto_field_name=True),
                "events": [
                    MessageToDict(event, preserving_proto_field_name=True)
                    for event in store.events(stored.run.id, 0, 100)
                ],
            }
            for stored in store.page(None, 100)
        ],
        "tokens": [
            {**token._asdict(), "digest": token.digest.hex(), "role": token.role.value}
            for token in store.tokens.list()
        ],
    }


# --- what a sample holds ------------------------------------------------------------------------


def test_there_is_a_sample_of_every_earlier_version() -> None:
    assert {version for _, version in kinds_and_versions()} == set(range(1, int(REVISION)))


def test_a_sample_is_brought_forward_with_all_it_holds(sample: Sample) -> None:
    for _ in range(2):
        store = RunStore(sample.place)
        assert content(store) == sample.held
        store.close()


def test_every_run_of_a_sample_is_found_by_all_that_lists_look_for(sample: Sample) -> None:
    store = RunStore(sample.place)
    runs = [ParseDict(each["run"], run_pb2.Run()) for each in sample.held["runs"]]
    for run in runs:
        for wanted, matches in filters_that_find(run):
            found = [each.run.id for each in store.page(None, 100, wanted)]
            assert found == [other.id for other in runs if matches(other)], wanted
    store.close()


def filters_that_find(
    run: run_pb2.Run,
) -> list[tuple[RunFilter, Callable[[run_pb2.Run], bool]]]:
    """Filters, and what each of them means."""
    return [
        (RunFilter(frozenset({run.state})), lambda other: other.state == run.state),
        (RunFilter(name=run.spec.name), lambda other: other.spec.name == run.spec.name),
        (RunFilter(owner=run.owner), lambda other: other.owner == run.owner),
        (
            RunFilter(labels=dict(run.labels)),
            lambda other: dict(run.labels).items() <= dict(other.labels).items(),
        ),
    ]


def test_a_request_of_a_sample_is_known(sample: Sample) -> None:
    store = RunStore(sample.place)
    for each in sample.held["runs"]:
        run = ParseDict(each["run"], run_pb2.Run())
        found = store.requested(run)
        if run.request_id:
            assert found is not None
            assert found.run == run
        else:
            assert found is None
    store.close()


def test_the_runs_of_a_sample_go_on_and_new_ones_get_new_numbers(sample: Sample) -> None:
    store = RunStore(sample.place)
    before = store.get("r-running")
    assert before is not None
    after = append(store, "r-running", [run_pb2.Event(progress=run_pb2.Progress(step=8))])
    assert after is not None
    assert (after.sequence, after.run.progress.step) == (before.sequence + 1, 8)
    new = store.create(run_pb2.Run(id="r-new"), "service-new")
    assert new.number == 7  # 6 was given before, if to a run that was deleted since
    store.close()


# --- the tables ---------------------------------------------------------------------------------


@pytest.fixture
def schema_of(request: pytest.FixtureRequest, tmp_path: Path) -> SchemaOf:
    """Makes the tables of the schema in a new database of the given one's kind, and reads them."""

    def read(place: Path | str) -> MetaData:
        if isinstance(place, Path):
            engine = engine_of(tmp_path / "schema.db")
        else:
            server: PostgresServer = request.getfixturevalue("postgres_server")
            engine = engine_of(server.new_store())
        METADATA.create_all(engine)
        found = MetaData()
        found.reflect(engine)
        engine.dispose()
        return found

    return read


def engine_of(place: Path | str) -> Engine:
    if isinstance(place, str):
        return postgres_engine(place)
    return create_engine(URL.create("sqlite", database=str(place)))


def differences(place: Path | str, schema: MetaData) -> list[Any]:
    """What Alembic would change to give a database the tables of a schema."""
    engine = engine_of(place)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": differ,
                "compare_server_default": True,
                "include_name": lambda name, kind, _: (kind, name) != ("table", "schema_version"),
            },
        )
        found = compare_metadata(context, schema)
    engine.dispose()
    if isinstance(place, Path):
        # SQLite's row number is never NULL; earlier versions did not say so.
        found = [each for each in found if each[0][:4] != NULLABLE_ROW_NUMBER]
    return list(found)


def differ(
    context: MigrationContext, _found: object, _wanted: object, found: object, wanted: object
) -> bool | None:
    """Whether types differ, None where Alembic decides; SQLite knows integers of one size only."""
    both = isinstance(found, Integer) and isinstance(wanted, Integer)
    return False if both and context.dialect.name == "sqlite" else None


@pytest.mark.slow
def test_a_sample_gets_the_tables_of_the_schema(sample: Sample, schema_of: SchemaOf) -> None:
    RunStore(sample.place).close()
    assert differences(sample.place, schema_of(sample.place)) == []


def test_an_empty_database_gets_the_tables_of_the_schema(
    place: Path | str, schema_of: SchemaOf
) -> None:
    RunStore(place).close()
    assert differences(place, schema_of(place)) == []


def test_the_migrations_alone_make_the_tables_of_the_schema(
    place: Path | str, schema_of: SchemaOf
) -> None:
    run_all_migrations(place)
    assert differences(place, schema_of(place)) == []


def run_all_migrations(place: Path | str) -> None:
    if isinstance(place, Path):
        place.parent.mkdir()
    scripts = migrations()
    engine = engine_of(place)
    with engine.begin() as connection:
        context = MigrationContext.configure(
            connection, opts={"fn": lambda heads, _: scripts._upgrade_revs("head", heads)}
        )
        context.run_migrations(op=Operations(context))
    engine.dispose()


def migrations() -> ScriptDirectory:
    return ScriptDirectory(str(MIGRATIONS), version_locations=[str(MIGRATIONS)])


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        "DROP INDEX runs_name",
        "DROP INDEX labels_value; CREATE INDEX labels_value ON labels (value, key, number)",
        "ALTER TABLE runs ADD COLUMN extra TEXT",
        "ALTER TABLE tokens DROP COLUMN role",
        "ALTER TABLE tokens DROP COLUMN role; ALTER TABLE tokens ADD COLUMN role INTEGER NOT NULL",
        "ALTER TABLE tokens DROP COLUMN role; ALTER TABLE tokens ADD COLUMN role TEXT",
        "CREATE TABLE extra (number BIGINT)",
        "DROP TABLE labels",
    ],
)
def test_a_difference_between_tables_is_seen(
    place: Path | str, schema_of: SchemaOf, change: str
) -> None:
    RunStore(place).close()
    if isinstance(place, Path):  # which wants a value for the rows that might be there
        change = change.replace("NOT NULL", "NOT NULL DEFAULT 0")
    execute(place, change)
    assert differences(place, schema_of(place)) != []


@pytest.mark.slow
def test_the_tables_of_sqlite_that_have_no_row_numbers_are_those_of_the_schema(
    path: Path,
) -> None:
    """Alembic does not compare this."""
    run_all_migrations(path)
    RunStore(path.with_name("new.db")).close()
    for each in (path, path.with_name("new.db")):
        database = sqlite3.connect(each)
        found = database.execute("SELECT name FROM pragma_table_list WHERE wr").fetchall()
        assert found == [("events",)]
        database.close()


def test_migrations_are_numbered_in_a_row_up_to_the_one_that_the_schema_names() -> None:
    scripts = list(migrations().walk_revisions())[::-1]
    assert [script.revision for script in scripts] == [
        f"{number:04}" for number in range(1, len(scripts) + 1)
    ]
    assert scripts[-1].revision == REVISION
    for script in scripts:
        assert Path(script.path).name.startswith(f"v{script.revision}_")


# --- what goes wrong ----------------------------------------------------------------------------


def dump(place: Path | str) -> dict[str, Any]:
    """All tables of a database with their rows, and its schema."""
    engine = engine_of(place)
    with engine.connect() as connection:
        inspector = inspect(connection)
        tables = inspector.get_table_names()
        found: dict[str, Any] = {
            table: sorted(map(repr, connection.execute(text(f"SELECT * FROM {table}"))))
            for table in tables
        }
        if isinstance(place, Path):
            found["version"] = connection.execute(text("PRAGMA user_version")).scalar_one()
            found["schema"] = connection.execute(text("SELECT sql FROM sqlite_master")).all()
        else:
            found["schema"] = [
                (repr(inspector.get_columns(table)), inspector.get_indexes(table))
                for table in tables
            ]
    engine.dispose()
    return found


@pytest.mark.parametrize(("kind", "version"), [("sqlite", 2), ("postgres", 2)])
def test_a_migration_that_fails_midway_leaves_the_database_as_it_was(
    request: pytest.FixtureRequest, path: Path, kind: str, version: int
) -> None:
    place: Path | str = path
    if kind == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        place = server.new_store()
    sample_of(kind, version, place)
    # The next migration makes a table first, and then this index.
    execute(place, "CREATE INDEX runs_owner ON runs (owner)")
    before = dump(place)
    assert {"runs", "events", "labels"} <= before.keys()
    with pytest.raises(StoreError, match=r"^cannot open the run store .*runs_owner.* exists"):
        RunStore(place)
    assert dump(place) == before


def test_a_run_that_cannot_be_read_leaves_the_database_as_it_was(path: Path) -> None:
    sample_of("sqlite", 1, path)
    execute(path, "UPDATE runs SET run = x'ff' WHERE number = 6")
    before = dump(path)
    with pytest.raises(DecodeError):
        RunStore(path)
    assert dump(path) == before


def test_tables_of_another_program_are_left_as_they_are(place: Path | str) -> None:
    execute(place, "CREATE TABLE runs (name TEXT); INSERT INTO runs VALUES ('theirs')")
    before = dump(place)
    with pytest.raises(StoreError, match=r"^cannot open the run store .*runs.* exists"):
        RunStore(place)
    assert dump(place) == before


def test_a_database_of_a_newer_version_is_refused_and_left_as_it_is(place: Path | str) -> None:
    store = RunStore(place)
    store.create(run_pb2.Run(id="r-1"), "service-1")
    store.close()
    execute(place, "UPDATE alembic_version SET version_num = '9999'")
    message = refusal(place)
    assert message == f"{store.name} was written by a newer sumgrad; use that version"


@pytest.mark.slow
def test_a_version_before_alembic_that_never_was_is_refused(sample: Sample) -> None:
    number = NEWEST_BEFORE_ALEMBIC + 1
    if isinstance(sample.place, Path):
        execute(sample.place, f"PRAGMA user_version = {number}")
    else:
        execute(sample.place, f"UPDATE schema_version SET version = {number}")
    assert refusal(sample.place).endswith(" was written by a newer sumgrad; use that version")


def refusal(place: Path | str) -> str:
    """What is said of a database that is refused and left as it is."""
    before = dump(place)
    with pytest.raises(StoreError) as caught:
        RunStore(place)
    assert dump(place) == before
    return str(caught.value)


@pytest.mark.parametrize("earlier", [False, True], ids=["empty", "earlier"])
def test_sumgrads_before_alembic_find_a_version_that_they_refuse(
    request: pytest.FixtureRequest, place: Path | str, earlier: bool
) -> None:
    kind = "sqlite" if isinstance(place, Path) else "postgres"
    if earlier:
        sample_of(kind, NEWEST_BEFORE_ALEMBIC, place)
    RunStore(place).close()
    found = dump(place)
    if isinstance(place, Path):
        assert found["version"] > NEWEST_BEFORE_ALEMBIC
    else:
        assert found["schema_version"] == [f"({int(REVISION)},)"]
        assert int(REVISION) > NEWEST_BEFORE_ALEMBIC


# --- at once ------------------------------------------------------------------------------------


def open_at_once(places: Sequence[Path | str]) -> list[RunStore]:
    together = threading.Barrier(len(places))

    def open_store(place: Path | str) -> RunStore:
        together.wait(30)
        return RunStore(place)

    with ThreadPoolExecutor(len(places)) as pool:
        return list(pool.map(open_store, places))


def test_services_that_start_at_once_on_an_empty_database_make_its_tables_once(
    place: Path | str,
) -> None:
    stores = open_at_once([place] * 6)
    stores[0].create(run_pb2.Run(id="r-1"), "service-1")
    for each in stores:
        found = each.get("r-1")
        assert found is not None
        assert found.run.id == "r-1"
        each.close()


@pytest.mark.slow
def test_services_that_start_at_once_on_an_earlier_database_migrate_it_once(
    sample: Sample,
) -> None:
    for each in open_at_once([sample.place] * 6):
        assert content(each) == sample.held
        each.close()


@pytest.mark.slow
def test_several_databases_are_migrated_at_once(tmp_path: Path) -> None:
    samples = [
        sample_of("sqlite", number % 3 + 1, tmp_path / f"{number}.db") for number in range(6)
    ]
    for each, store in zip(samples, open_at_once([each.place for each in samples]), strict=True):
        assert content(store) == each.held
        store.close()


OPEN = """
import sys
from pathlib import Path

from sumgrad.trainer.service.store.run_store import RunStore

RunStore(Path(sys.argv[1])).close()
print("alembic" in sys.modules)
"""


@pytest.mark.slow
def test_alembic_is_loaded_only_for_a_database_of_an_earlier_version(path: Path) -> None:
    earlier = path.with_name("earlier.db")
    sample_of("sqlite", 1, earlier)
    for place, loaded in ((path, "False"), (path, "False"), (earlier, "True"), (earlier, "False")):
        command = [sys.executable, "-c", OPEN, str(place)]
        found = subprocess.run(command, check=True, capture_output=True, text=True)
        assert found.stdout.strip() == loaded
