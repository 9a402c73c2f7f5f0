"""Runs and their events in a database: the truth about what was asked for and what happened."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Select,
    bindparam,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from sumgrad.trainer.record import history, states
from sumgrad.trainer.service.access.token_store import TokenStore
from sumgrad.trainer.service.api.run_filter import Cursor, RunFilter
from sumgrad.trainer.service.runs import transitions
from sumgrad.trainer.service.runs.stored_run import StoredRun
from sumgrad.trainer.service.runs.transitions import Change, Transition
from sumgrad.trainer.service.store.database import Database
from sumgrad.trainer.service.store.schema import events as events_table
from sumgrad.trainer.service.store.schema import labels as labels_table
from sumgrad.trainer.service.store.schema import runs as runs_table
from sumgrad.trainer.v1 import run_pb2


class RequestConflictError(RuntimeError):
    """Something else was submitted with the same request id."""

    def __init__(self, request_id: str, run_id: str) -> None:
        super().__init__(
            f"request id {request_id!r} was used for run {run_id}, with another specification, "
            "other labels or another priority; use a new one"
        )
        self.run_id = run_id


class RunNotEndedError(RuntimeError):
    """Only a run that has ended can be deleted."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id} has not ended, so it cannot be deleted; cancel it first")
        self.run_id = run_id


class RunStore:
    """One database. Every method is one transaction; safe to call from any thread.

    Every method raises StoreUnavailableError while the database cannot be used.

    Attributes:
        name: of the database, without a password.
        tokens: in the same database.
    """

    def __init__(self, place: Path | str) -> None:
        """Open or create the database: SQLite's file, or the URL of a Postgres.

        Raises:
            StoreError: it cannot be opened, or a newer sumgrad wrote it.
        """
        self._database = Database(place)
        self.name = self._database.name
        self.tokens = TokenStore(self._database)

    def close(self) -> None:
        self._database.close()

    def create(
        self, run: run_pb2.Run, service: str, events: Sequence[run_pb2.Event] = ()
    ) -> StoredRun:
        """A new run with its first events; once for each owner and request id.

        Returns:
            The run, or the one that was stored for the same request before.

        Raises:
            RequestConflictError: that one was asked for in other words.
        """
        stored = self.requested(run)
        if stored is not None:
            return stored
        try:
            with self._database.writing() as connection:
                return _create(connection, run, service, events)
        except IntegrityError:  # the same request came in at the same time
            stored = self.requested(run)
            if stored is None:
                raise
            return stored

    def requested(self, run: run_pb2.Run) -> StoredRun | None:
        """The run that was stored for the same request before, if there is one.

        Raises:
            RequestConflictError: it was asked for in other words.
        """
        if not run.request_id:
            return None
        with self._database.reading() as connection:
            row = connection.execute(
                _BY_REQUEST, {"owner": run.owner, "request": run.request_id}
            ).one_or_none()
        if row is None:
            return None
        stored = _stored(row)
        if _asked_for(stored.run) != _asked_for(run):
            raise RequestConflictError(run.request_id, stored.run.id)
        return stored

    def get(self, run_id: str) -> StoredRun | None:
        with self._database.reading() as connection:
            return _get(connection, run_id)

    def page(
        self, after: Cursor | None, limit: int, wanted: RunFilter | None = None
    ) -> list[StoredRun]:
        """Runs by the time of their creation, those after ``after`` if it is given."""
        statement = _listing(wanted or RunFilter(), after).limit(limit)
        with self._database.reading() as connection:
            return [_stored(row) for row in connection.execute(statement)]

    def open_runs(
        self,
        service: str | None = None,
        states: Collection[run_pb2.RunState] = states.OPEN,
        limit: int | None = None,
    ) -> list[StoredRun]:
        """Runs that have not ended, oldest first: of a service, in some states, not too many."""
        statement = _ALL.where(runs_table.c.state.in_(states)).order_by(runs_table.c.number)
        if service is not None:
            statement = statement.where(runs_table.c.service == service)
        with self._database.reading() as connection:
            return [_stored(row) for row in connection.execute(statement.limit(limit))]

    def services(self) -> set[str]:
        """Those that look after runs which have not ended, be they alive or not."""
        with self._database.reading() as connection:
            return set(connection.execute(_SERVICES).scalars())

    def events(self, run_id: str, after: int, limit: int) -> list[run_pb2.Event]:
        """Events with a sequence number above ``after``, in order."""
        with self._database.reading() as connection:
            rows = connection.execute(
                _EVENTS, {"run_id": run_id, "after": after, "limit": limit}
            ).scalars()
            return [run_pb2.Event.FromString(event) for event in rows]

    def adopt_waiting(self, gone: str, service: str) -> list[StoredRun]:
        """A service looks after all runs that wait and that another one looked after.

        Returns:
            Those that it has taken over.
        """
        table = runs_table.c
        waiting = table.state.in_(states.WAITING)
        statement = (
            update(runs_table)
            .where(table.service == gone, waiting)
            .values(service=service)
            .returning(*_COLUMNS)
        )
        with self._database.writing() as connection:
            return [_stored(row) for row in connection.execute(statement)]

    def change(self, run_id: str, transition: Transition) -> Change | None:
        """Let a transition happen to a run as it is now; nothing else happens to it meanwhile.

        Events that may not follow are dropped, the others get their sequence numbers.

        Returns:
            The run and what happened to it, or None if there is no such run.

        Raises:
            Whatever the transition raises: nothing is changed then.
        """
        with self._database.writing() as connection:
            stored = _get_to_change(connection, run_id)
            return None if stored is None else _apply(connection, stored, transition(stored))

    def delete(self, run_id: str) -> bool:
        """Forget a run and its events; False if there is no such run.

        Raises:
            RunNotEndedError
        """
        with self._database.writing() as connection:
            stored = _get_to_change(connection, run_id)
            if stored is None:
                return False
            if not states.ended(stored.run):
                raise RunNotEndedError(run_id)
            for table in (events_table, labels_table, runs_table):
                connection.execute(delete(table).where(table.c.number == stored.number))
            return True


_COLUMNS = [runs_table.c[name] for name in ("number", "run", *StoredRun._fields[2:])]
_ALL = select(*_COLUMNS)
_SERVICES = select(runs_table.c.service).where(runs_table.c.state.in_(states.OPEN)).distinct()
_BY_ID = _ALL.where(runs_table.c.id == bindparam("run_id"))
_BY_ID_TO_CHANGE = _BY_ID.with_for_update()
_BY_REQUEST = _ALL.where(
    runs_table.c.owner == bindparam("owner"), runs_table.c.request == bindparam("request")
)
_EVENTS = (
    select(events_table.c.event)
    .join_from(events_table, runs_table, events_table.c.number == runs_table.c.number)
    .where(runs_table.c.id == bindparam("run_id"), events_table.c.sequence > bindparam("after"))
    .order_by(events_table.c.sequence)
    .limit(bindparam("limit"))
)
_CHANGE = update(runs_table).where(runs_table.c.number == bindparam("the_number"))


def _listing(wanted: RunFilter, after: Cursor | None) -> Select[Any]:
    table = runs_table.c
    statement = _ALL
    if wanted.owner is not None:
        statement = statement.where(table.owner == wanted.owner)
    if wanted.states:
        statement = statement.where(table.state.in_(sorted(wanted.states)))
    if wanted.name.endswith("*"):
        prefix = wanted.name[:-1]
        statement = statement.where(func.substr(table.name, 1, len(prefix)) == prefix)
    elif wanted.name:
        statement = statement.where(table.name == wanted.name)
    if wanted.labels:
        statement = statement.where(table.number.in_(_with_labels(wanted.labels)))
    place = tuple_(table.created, table.number)
    if wanted.oldest_first:
        if after is not None:
            statement = statement.where(place > tuple_(*after))
        return statement.order_by(table.created, table.number)
    if after is not None:
        statement = statement.where(place < tuple_(*after))
    return statement.order_by(table.created.desc(), table.number.desc())


def _with_labels(wanted: Mapping[str, str]) -> Select[Any]:
    """The numbers of the runs that have all these labels.

    The same statement however many there are: each form of one is compiled, and kept in memory.
    """
    label = labels_table.c
    return (
        select(label.number)
        .where(tuple_(label.key, label.value).in_(sorted(wanted.items())))
        .group_by(label.number)
        .having(func.count() == len(wanted))
    )


def _create(
    connection: Connection, run: run_pb2.Run, service: str, events: Sequence[run_pb2.Event]
) -> StoredRun:
    values = {
        "id": run.id,
        "service": service,
        "owner": run.owner,
        "request": run.request_id or None,
        "state": run.state,
        "name": run.spec.name,
        "priority": run.priority,
        "created": run.created.ToMicroseconds(),
        "sequence": 0,
        "reported": 0,
        "token": "",
        "run": run.SerializeToString(),
    }
    number = connection.execute(
        insert(runs_table).returning(runs_table.c.number), values
    ).scalar_one()
    if run.labels:
        connection.execute(
            insert(labels_table),
            [{"number": number, "key": key, "value": run.labels[key]} for key in run.labels],
        )
    stored = StoredRun(number, run, service, 0, 0, "")
    return _apply(connection, stored, Change(stored, events)).stored


def _apply(connection: Connection, before: StoredRun, change: Change) -> Change:
    """Let events happen to the run, and store all that has changed."""
    run, sequence, happened = run_pb2.Run(), before.sequence, []
    run.CopyFrom(before.run)
    for event in change.events:
        if transitions.may_follow(run, event) and history.apply(run, event):
            sequence += 1
            event.sequence = sequence
            happened.append(event)
    if happened:
        connection.execute(
            insert(events_table),
            [
                {
                    "number": before.number,
                    "sequence": event.sequence,
                    "event": event.SerializeToString(),
                }
                for event in happened
            ],
        )
    stored = change.stored._replace(run=run, sequence=sequence)
    if stored != before:
        connection.execute(
            _CHANGE,
            {
                "the_number": stored.number,
                "service": stored.service,
                "state": run.state,
                "sequence": sequence,
                "reported": stored.reported,
                "token": stored.token,
                "run": run.SerializeToString(),
            },
        )
    return Change(stored, happened)


def _get(connection: Connection, run_id: str, statement: Select[Any] = _BY_ID) -> StoredRun | None:
    if "\0" in run_id:  # which Postgres cannot even be asked for
        return None
    row = connection.execute(statement, {"run_id": run_id}).one_or_none()
    return None if row is None else _stored(row)


def _get_to_change(connection: Connection, run_id: str) -> StoredRun | None:
    """The run, which nobody else changes before this transaction has ended."""
    return _get(connection, run_id, _BY_ID_TO_CHANGE)


def _stored(row: Row[*tuple[Any, ...]]) -> StoredRun:
    return StoredRun(row[0], run_pb2.Run.FromString(row[1]), row[2], row[3], row[4], row[5])


def _asked_for(run: run_pb2.Run) -> tuple[run_pb2.RunSpec, dict[str, str], int]:
    return run.spec, dict(run.labels), run.priority
