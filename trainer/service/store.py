"""Runs and their events in SQLite: the truth about what was asked for and what happened."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from trainer.service import history
from trainer.v1 import run_pb2

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    service TEXT NOT NULL,      -- the service that looks after the run
    ended INTEGER NOT NULL,
    sequence INTEGER NOT NULL,  -- of the last event
    reported INTEGER NOT NULL,  -- number of the attempt's last stored report
    token TEXT NOT NULL,        -- what the attempt's runner must know
    run BLOB NOT NULL           -- trainer.v1.Run
);
CREATE INDEX runs_open ON runs (ended) WHERE ended = 0;
CREATE TABLE events (
    number INTEGER NOT NULL REFERENCES runs,
    sequence INTEGER NOT NULL,
    event BLOB NOT NULL,        -- trainer.v1.Event
    PRIMARY KEY (number, sequence)
) WITHOUT ROWID;
"""


class StoreError(RuntimeError):
    """The database cannot be opened or used."""


class StoredRun(NamedTuple):
    """A run with what only the service needs to know of it."""

    number: int
    run: run_pb2.Run
    service: str
    sequence: int
    reported: int
    token: str


class Store:
    """One database file. Every method is one transaction; safe to call from any thread."""

    def __init__(self, path: Path) -> None:
        """Open or create the database.

        Raises:
            StoreError: it cannot be opened, or a newer sumgrad wrote it.
        """
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path, timeout=10, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            with self._transaction():
                self._migrate(path)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"cannot open the run store {path}: {error}") from None

    def _migrate(self, path: Path) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise StoreError(f"{path} was written by a newer sumgrad; use that version")
        if version == 0:
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def create(self, run: run_pb2.Run, service: str) -> None:
        """A new run, before its first event."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO runs (id, service, ended, sequence, reported, token, run) "
                "VALUES (?, ?, 0, 0, 0, '', ?)",
                (run.id, service, run.SerializeToString()),
            )

    def get(self, run_id: str) -> StoredRun | None:
        with self._transaction():
            return self._get(run_id)

    def page(self, before: int | None, limit: int) -> list[StoredRun]:
        """Runs by descending number, those below ``before`` if it is given."""
        with self._transaction():
            rows = self._db.execute(
                f"SELECT {_COLUMNS} FROM runs WHERE number < ? ORDER BY number DESC LIMIT ?",
                (2**62 if before is None else before, limit),
            )
            return [_stored(row) for row in rows]

    def open_runs(self) -> list[StoredRun]:
        """Runs that have not ended, oldest first."""
        with self._transaction():
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM runs WHERE ended = 0 ORDER BY number")
            return [_stored(row) for row in rows]

    def events(self, run_id: str, after: int, limit: int) -> list[run_pb2.Event]:
        """Events with a sequence number above ``after``, in order."""
        with self._transaction():
            rows = self._db.execute(
                "SELECT event FROM events JOIN runs USING (number) "
                "WHERE id = ? AND events.sequence > ? ORDER BY events.sequence LIMIT ?",
                (run_id, after, limit),
            )
            return [run_pb2.Event.FromString(event) for (event,) in rows]

    def begin_attempt(self, run_id: str, token: str, event: run_pb2.Event) -> StoredRun | None:
        """Append the event of a launch; the attempt's reports count from 1 and need the token."""
        with self._transaction():
            self._db.execute(
                "UPDATE runs SET token = ?, reported = 0 WHERE id = ?", (token, run_id)
            )
            return self._append(run_id, [event])

    def adopt(self, run_id: str, service: str) -> None:
        """Another service looks after the run from now on."""
        with self._transaction():
            self._db.execute("UPDATE runs SET service = ? WHERE id = ?", (service, run_id))

    def append(self, run_id: str, events: Sequence[run_pb2.Event]) -> StoredRun | None:
        """Let events happen to a run, and give them their sequence numbers.

        Events that come after the run's end are dropped.

        Returns:
            The run as it is now, or None if there is no such run.
        """
        with self._transaction():
            return self._append(run_id, events)

    def append_reported(self, run_id: str, events: Mapping[int, run_pb2.Event]) -> StoredRun | None:
        """Let the events of reports happen, each report once however often it comes.

        Args:
            events: by the number of their report, ascending.
        """
        with self._transaction():
            stored = self._get(run_id)
            if stored is None:
                return None
            fresh = [event for number, event in events.items() if number > stored.reported]
            return self._append(run_id, fresh, max(stored.reported, *events))

    def _append(
        self, run_id: str, events: Sequence[run_pb2.Event], reported: int | None = None
    ) -> StoredRun | None:
        stored = self._get(run_id)
        if stored is None:
            return None
        sequence = stored.sequence
        for event in events:
            if history.apply(stored.run, event):
                sequence += 1
                event.sequence = sequence
                self._db.execute(
                    "INSERT INTO events VALUES (?, ?, ?)",
                    (stored.number, sequence, event.SerializeToString()),
                )
        stored = stored._replace(
            sequence=sequence, reported=stored.reported if reported is None else reported
        )
        self._db.execute(
            "UPDATE runs SET ended = ?, sequence = ?, reported = ?, run = ? WHERE number = ?",
            (
                history.ended(stored.run),
                stored.sequence,
                stored.reported,
                stored.run.SerializeToString(),
                stored.number,
            ),
        )
        return stored

    def _get(self, run_id: str) -> StoredRun | None:
        row = self._db.execute(f"SELECT {_COLUMNS} FROM runs WHERE id = ?", (run_id,)).fetchone()
        return None if row is None else _stored(row)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


_COLUMNS = "number, run, service, sequence, reported, token"


def _stored(row: tuple[int, bytes, str, int, int, str]) -> StoredRun:
    return StoredRun(row[0], run_pb2.Run.FromString(row[1]), *row[2:])
