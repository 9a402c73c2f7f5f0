"""How an empty or earlier database gets the present tables, and a newer one is refused."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    Named,
    String,
    Table,
    TypedColumns,
    insert,
    inspect,
    select,
    text,
)

from sumgrad.trainer.service.store.schema import METADATA, REVISION

MIGRATIONS = Path(__file__).with_name("migrations")

_NEWEST_BEFORE_ALEMBIC = 3
_POSTGRES_LOCK = 0x73756D67  # "sumg"
_MIGRATION_SECONDS = 600


class NewerSchemaError(RuntimeError):
    """A newer sumgrad wrote the database."""


class VersionColumns(TypedColumns):
    """Alembic's own table."""

    version_num: Named[str] = Column(String(32), primary_key=True)


_VERSION = Table("alembic_version", MetaData(), VersionColumns)


def migrate(connection: Connection) -> None:
    """Bring a database to the present schema, in the given transaction.

    Raises:
        NewerSchemaError: nothing was changed.
    """
    if connection.dialect.name == "postgresql":
        _wait_for_others(connection)
    revision = _revision(connection)
    if revision == REVISION:
        return
    revision = revision or _revision_before_alembic(connection)
    if revision is None:
        _create(connection)
    else:
        _upgrade(connection, revision)
    _refuse_sumgrads_before_alembic(connection)


def _wait_for_others(connection: Connection) -> None:
    """Have services that start at once migrate one after the other.

    SQLite's transaction does so by itself: it begins with the right to write.
    """
    connection.execute(text(f"SET LOCAL statement_timeout = '{_MIGRATION_SECONDS}s'"))
    connection.execute(text(f"SET LOCAL lock_timeout = '{_MIGRATION_SECONDS}s'"))
    connection.execute(text(f"SELECT pg_advisory_xact_lock({_POSTGRES_LOCK})"))


def _revision(connection: Connection) -> str | None:
    """The newest migration of the database, as Alembic keeps it."""
    if not inspect(connection).has_table(_VERSION.name):
        return None
    return connection.scalar(select(_VERSION.c.version_num))


def _revision_before_alembic(connection: Connection) -> str | None:
    """The migration that made the same tables as a version did; None for an empty database."""
    if connection.dialect.name == "sqlite":
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    elif inspect(connection).has_table("schema_version"):
        version = connection.scalar(text("SELECT version FROM schema_version")) or 0
    else:
        version = 0
    if version > _NEWEST_BEFORE_ALEMBIC:
        raise NewerSchemaError
    return f"{version:04}" if version else None


def _create(connection: Connection) -> None:
    """Make the tables at once; a test holds them to those that the migrations make."""
    # Tables of these names that are there already are somebody else's, and an error.
    METADATA.create_all(connection, checkfirst=False)
    _VERSION.create(connection, checkfirst=False)
    connection.execute(insert(_VERSION).values({_VERSION.c.version_num: REVISION}))


def _upgrade(connection: Connection, revision: str) -> None:
    """Run the migrations that follow a revision."""
    # Imported here: it takes longer than opening a database, and few databases need it.
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(MIGRATIONS), version_locations=[str(MIGRATIONS)])
    if revision not in {script.revision for script in scripts.walk_revisions()}:
        raise NewerSchemaError
    context = MigrationContext.configure(
        connection, opts={"fn": lambda heads, _: scripts._upgrade_revs(REVISION, heads)}
    )
    context.stamp(scripts, revision)
    # Given to each migration: Alembic's own ``op`` is one for all threads.
    context.run_migrations(op=Operations(context))


def _refuse_sumgrads_before_alembic(connection: Connection) -> None:
    """Have them refuse the database as newer; this number is what they look at."""
    number = int(REVISION)
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA user_version = {number}")
        return
    connection.execute(text("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"))
    connection.execute(text("DELETE FROM schema_version"))
    connection.execute(text(f"INSERT INTO schema_version VALUES ({number})"))
