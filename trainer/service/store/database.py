"""The run store's database: a file of SQLite, or a Postgres that several services share."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    InterfaceError,
    InternalError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from sumgrad.trainer.extras import install
from sumgrad.trainer.service.store.migration import NewerSchemaError, migrate
from sumgrad.trainer.service.store.store_errors import StoreError, StoreUnavailableError

WAIT_SECONDS = 10
"""The longest wait for a lock, for an answer, and for a free connection."""

CONNECT_SECONDS = 5

_POSTGRES = {
    "connect_timeout": CONNECT_SECONDS,
    "application_name": "sumgrad",
    # Both sides notice when the other's host vanishes, also between statements.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": WAIT_SECONDS * 1000,
    "options": " ".join(
        f"-c {setting}"
        for setting in (
            f"statement_timeout={WAIT_SECONDS}s",
            f"lock_timeout={WAIT_SECONDS}s",
            f"idle_in_transaction_session_timeout={WAIT_SECONDS}s",
            "tcp_keepalives_idle=5",
            "tcp_keepalives_interval=2",
            "tcp_keepalives_count=3",
            "synchronous_commit=on",
        )
    ),
}
"""Settings of every connection, unless the URL has others."""


class Database:
    """Transactions that write and connections that read, for any thread."""

    def __init__(self, place: Path | str) -> None:
        """Open or create the database and bring it to the present schema.

        Args:
            place: the path of SQLite's file, or the URL of a Postgres.

        Raises:
            StoreError: it cannot be opened, or a newer sumgrad wrote it.
        """
        self.name = str(place) if isinstance(place, Path) else shown(_url(place))
        try:
            self._writer, self._reader = (
                _sqlite(place) if isinstance(place, Path) else _postgres(_url(place))
            )
        except (ImportError, NoSuchModuleError) as error:
            raise StoreError(
                f"the run store {self.name} needs the driver psycopg ({error}): "
                f"{install('postgres')}"
            ) from None
        except OSError as error:
            raise StoreError(f"cannot open the run store {self.name}: {error}") from None
        try:
            self._migrate()
        except BaseException:
            self.close()
            raise

    def _migrate(self) -> None:
        try:
            with self._writer.begin() as connection:
                migrate(connection)
        except NewerSchemaError:
            raise StoreError(
                f"{self.name} was written by a newer sumgrad; use that version"
            ) from None
        except DatabaseError as error:
            raise StoreError(
                f"cannot open the run store {self.name}: {_first_line(error)}"
            ) from None

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction, rolled back on any exception.

        Raises:
            StoreUnavailableError: nothing was stored, unless the connection broke during the
                commit.
        """
        with self._as_store_errors(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection on which every statement sees all that was committed before it.

        Raises:
            StoreUnavailableError: the database cannot be used now.
        """
        with self._as_store_errors(), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def _as_store_errors(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError, InternalError, PoolTimeoutError) as error:
            raise StoreUnavailableError(
                f"the run store {self.name} cannot be used now: {_first_line(error)}"
            ) from None

    def close(self) -> None:
        self._writer.dispose()
        self._reader.dispose()


def shown(url: URL) -> str:
    """A URL without its password and its options, which may hold another."""
    return url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)


def has_password(url: str) -> bool:
    """Whether a URL holds a password.

    Raises:
        StoreError: this is not the URL of a Postgres.
    """
    parsed = _url(url)
    return parsed.password is not None or "password" in parsed.query


def postgres_engine(url: str, **options: Any) -> Engine:
    """A pool of connections to a Postgres that replaces those which broke while idle."""
    parsed = _url(url)
    arguments = {key: value for key, value in _POSTGRES.items() if key not in parsed.query}
    if isinstance(options_of_url := parsed.query.get("options"), str):
        arguments["options"] = f"{_POSTGRES['options']} {options_of_url}"
    return create_engine(
        parsed,
        connect_args=arguments,
        hide_parameters=True,
        pool_pre_ping=True,
        pool_timeout=WAIT_SECONDS,
        **options,
    )


def _url(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.drivername not in ("postgresql", "postgres"):
        # Without the text, which may hold a password.
        raise StoreError("the run store's URL must be like postgresql://user@host:5432/database")
    return url.set(drivername="postgresql+psycopg")


def _postgres(url: URL) -> tuple[Engine, Engine]:
    text = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return postgres_engine(text), postgres_engine(text, isolation_level="AUTOCOMMIT")


def _sqlite(path: Path) -> tuple[Engine, Engine]:
    """One connection that writes, and others that read without waiting for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # It holds runners' tokens. SQLite gives its other files the same mode.
    path.touch(mode=0o600)
    url = URL.create("sqlite", database=str(path))
    # Without an isolation level the driver leaves transactions to us.
    arguments = {"timeout": WAIT_SECONDS, "isolation_level": None, "check_same_thread": False}
    writer = create_engine(
        url,
        connect_args=arguments,
        hide_parameters=True,
        pool_size=1,
        max_overflow=0,
        pool_timeout=WAIT_SECONDS,
    )
    event.listen(writer, "connect", _make_durable)
    event.listen(writer, "begin", _begin_immediate)
    reader = create_engine(
        url, connect_args=arguments, hide_parameters=True, pool_reset_on_return=None
    )
    return writer, reader


def _make_durable(connection: sqlite3.Connection, _record: object) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not _in_wal_mode(connection) and time.monotonic() < deadline:
        time.sleep(0.01)
    connection.execute("PRAGMA synchronous = FULL")


def _in_wal_mode(connection: sqlite3.Connection) -> bool:
    """Request WAL mode; SQLite fails at once if another connection requests it too."""
    try:
        return connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        return False


def _begin_immediate(connection: Connection) -> None:
    """Take the write lock first: a transaction that has read could not wait for it."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _first_line(error: SQLAlchemyError) -> str:
    """The first line of the database's own message; SQLAlchemy's would hold the statement."""
    text = str(error.orig if isinstance(error, DBAPIError) else error)
    return text.strip().partition("\n")[0]
