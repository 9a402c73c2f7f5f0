"""Advisory locks of a Postgres, which its server releases when the connection ends."""

from __future__ import annotations

import contextlib
from hashlib import sha256

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from sumgrad.trainer.service.store.database import postgres_engine
from sumgrad.trainer.service.store.store_errors import StoreUnavailableError


class PostgresLocks:
    """Locks between processes on any hosts that share a database; one connection holds all."""

    def __init__(self, url: str) -> None:
        self._engine = postgres_engine(url, isolation_level="AUTOCOMMIT")
        self._connection: Connection | None = None
        self._held: set[str] = set()

    def hold(self, name: str) -> None:
        """Take a lock, or make sure that it is still held.

        Raises:
            StoreUnavailableError: it may be lost; another call takes it again.
        """
        try:
            if self._connection is not None and name in self._held:
                self._connection.execute(text("SELECT 1"))
                return
            self._held.add(name)
            self._connection = self._connection or self._engine.connect()
            for each in self._held:
                self._connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _key(each)})
        except DBAPIError as error:
            self._drop_connection()
            raise StoreUnavailableError(f"a lock in Postgres is lost: {error.orig}") from None

    def is_free(self, name: str) -> bool:
        try:
            with self._engine.connect() as connection:
                # Shared, so that several can ask at once; released with the statement.
                statement = text("SELECT pg_try_advisory_xact_lock_shared(:key)")
                return bool(connection.scalar(statement, {"key": _key(name)}))
        except DBAPIError as error:
            raise StoreUnavailableError(f"Postgres cannot be asked: {error.orig}") from None

    def close(self) -> None:
        if self._connection is not None:
            # Now: the server may be late to notice that the connection has ended.
            with contextlib.suppress(DBAPIError):
                self._connection.execute(text("SELECT pg_advisory_unlock_all()"))
        self._drop_connection()
        self._held.clear()
        self._engine.dispose()

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None


def _key(name: str) -> int:
    """The signed 64-bit number that stands for a name among Postgres' advisory locks."""
    return int.from_bytes(sha256(name.encode()).digest()[:8], signed=True)
