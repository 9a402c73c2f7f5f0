"""Runs and their events in a database: what was submitted and what happened since."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

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
from sumgrad.trainer.service.store.schema import EVENTS, LABELS, RUNS
from sumgrad.trainer.v1 import run_pb2


class RequestConflictError(RuntimeError):
    """Another run was submitted with the same request id."""

    def __init__(self, request_id: str, run_id: str) -> None:
        super().__init__(
            f"request id {request_id!r} was used for run {run_id}, with another specification, "
            "other labels or another priority; use a new one"
        )
        self.run_id = run_id


class RunNotEndedError(RuntimeError):
    """A run that has not ended was to be deleted."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id} has not ended, so it cannot be deleted; cancel it first")
        self.run_id = run_id


class RunStore:
    """One database. Every method is one transaction and may be called from any thread.

    Every method raises StoreUnavailableError while the database cannot be used.

    Attributes:
        name: the database's path or URL, without its password.
        tokens: the tokens in the same database.
    """

    def __init__(self, place: Path | str) -> None:
        """Open or create the database.

        Args:
            place: the path of SQLite's file, or the URL of a Postgres.

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
        """RunStore a new run with its first events, once for each owner and request id.

        Returns:
            The run, or the one that was stored for the same request before.

        Raises:
            RequestConflictError: that request was for another run.
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
        """The run that was stored for the same request before, if any.

        Raises:
            RequestConflictError: that request was for another run.
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
        if _requested(stored.run) != _requested(run):
            raise RequestConflictError(run.request_id, stored.run.id)
        return stored

    def get(self, run_id: str) -> StoredRun | None:
        """A run, or None if there is no such run."""
        with self._database.reading() as connection:
            return _get(connection, run_id)

    def page(
        self, after: Cursor | None, limit: int, wanted: RunFilter | None = None
    ) -> list[StoredRun]:
        """The next runs in the order of their creation, from the first or behind a cursor."""
        statement = _listing(wanted or RunFilter(), after).limit(limit)
        with self._database.reading() as connection:
            return [_stored(row) for row in connection.execute(statement)]

    def open_runs(
        self,
        service: str | None = None,
        states: Collection[run_pb2.RunState] = states.OPEN,
        limit: int | None = None,
    ) -> list[StoredRun]:
        """Runs in certain states, oldest first, of one service or of all."""
        statement = _ALL.where(RUNS.c.state.in_(states)).order_by(RUNS.c.number)
        if service is not None:
            statement = statement.where(RUNS.c.service == service)
        with self._database.reading() as connection:
            return [_stored(row) for row in connection.execute(statement.limit(limit))]

    def services(self) -> set[str]:
        """The names of the services, running or not, that look after runs which have not ended."""
        with self._database.reading() as connection:
            return set(connection.execute(_SERVICES).scalars())

    def events(self, run_id: str, after: int, limit: int) -> list[run_pb2.Event]:
        """The next events of a run, in order, behind a sequence number."""
        with self._database.reading() as connection:
            rows = connection.execute(
                _EVENTS, {"run_id": run_id, "after": after, "limit": limit}
            ).scalars()
            return [run_pb2.Event.FromString(event) for event in rows]

    def adopt_waiting(self, gone: str, service: str) -> list[StoredRun]:
        """Assign all waiting runs of one service to another.

        Returns:
            The runs that were assigned.
        """
        with self._database.writing() as connection:
            rows = connection.execute(_ADOPT_WAITING, {"gone": gone, "service": service})
            return [_stored(row) for row in rows]

    def change(self, run_id: str, transition: Transition) -> Change | None:
        """Apply a transition to a run, which stays locked until the outcome is stored.

        Events that may not follow are dropped, the others get their sequence numbers.

        Returns:
            The run and what happened to it, or None if there is no such run.

        Raises:
            Exception: what the transition raises; then nothing is changed.
        """
        with self._database.writing() as connection:
            stored = _get_to_change(connection, run_id)
            return None if stored is None else _apply(connection, stored, transition(stored))

    def delete(self, run_id: str) -> bool:
        """Delete a run and its events.

        Returns:
            False if there is no such run.

        Raises:
            RunNotEndedError: it has not ended; nothing was deleted.
        """
        with self._database.writing() as connection:
            stored = _get_to_change(connection, run_id)
            if stored is None:
                return False
            if not states.ended(stored.run):
                raise RunNotEndedError(run_id)
            for statement in _DELETE:
                connection.execute(statement, {"run": stored.number})
            return True


_RunRow: TypeAlias = tuple[int, bytes, str, int, int, str]
_COLUMNS = (
    RUNS.c.number,
    RUNS.c.run,
    RUNS.c.service,
    RUNS.c.sequence,
    RUNS.c.reported,
    RUNS.c.token,
)
_ALL = select(*_COLUMNS)
_BY_ID = _ALL.where(RUNS.c.id == bindparam("run_id"))
_BY_ID_TO_CHANGE = _BY_ID.with_for_update()
_BY_REQUEST = _ALL.where(RUNS.c.owner == bindparam("owner"), RUNS.c.request == bindparam("request"))
_SERVICES = select(RUNS.c.service).where(RUNS.c.state.in_(states.OPEN)).distinct()
_EVENTS = (
    select(EVENTS.c.event)
    .join_from(EVENTS, RUNS)
    .where(RUNS.c.id == bindparam("run_id"), EVENTS.c.sequence > bindparam("after"))
    .order_by(EVENTS.c.sequence)
    .limit(bindparam("limit"))
)
_INSERT = insert(RUNS).returning(RUNS.c.number)
_INSERT_LABELS = insert(LABELS)
_INSERT_EVENTS = insert(EVENTS)
_UPDATE = update(RUNS).where(RUNS.c.number == bindparam("the_number"))
_ADOPT_WAITING = (
    update(RUNS)
    .where(RUNS.c.service == bindparam("gone"), RUNS.c.state.in_(states.WAITING))
    .returning(*_COLUMNS)
)
_DELETE = [
    delete(table).where(table.c.number == bindparam("run")) for table in (EVENTS, LABELS, RUNS)
]


def _listing(wanted: RunFilter, after: Cursor | None) -> Select[*_RunRow]:
    statement = _ALL
    if wanted.owner is not None:
        statement = statement.where(RUNS.c.owner == wanted.owner)
    if wanted.states:
        statement = statement.where(RUNS.c.state.in_(sorted(wanted.states)))
    if wanted.id_prefix:
        prefix = wanted.id_prefix
        statement = statement.where(func.substr(RUNS.c.id, 1, len(prefix)) == prefix)
    if wanted.name.endswith("*"):
        prefix = wanted.name[:-1]
        statement = statement.where(func.substr(RUNS.c.name, 1, len(prefix)) == prefix)
    elif wanted.name:
        statement = statement.where(RUNS.c.name == wanted.name)
    if wanted.labels:
        statement = statement.where(RUNS.c.number.in_(_with_labels(wanted.labels)))
    place = tuple_(RUNS.c.created, RUNS.c.number)
    if wanted.oldest_first:
        if after is not None:
            statement = statement.where(place > tuple_(*after))
        return statement.order_by(RUNS.c.created, RUNS.c.number)
    if after is not None:
        statement = statement.where(place < tuple_(*after))
    return statement.order_by(RUNS.c.created.desc(), RUNS.c.number.desc())


def _with_labels(wanted: Mapping[str, str]) -> Select[int]:
    """The numbers of the runs that have all these labels.

    The same statement for any number of labels: each form of one is compiled and kept in memory.
    """
    return (
        select(LABELS.c.number)
        .where(tuple_(LABELS.c.key, LABELS.c.value).in_(sorted(wanted.items())))
        .group_by(LABELS.c.number)
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
    number = connection.execute(_INSERT, values).scalar_one()
    if run.labels:
        connection.execute(
            _INSERT_LABELS,
            [{"number": number, "key": key, "value": run.labels[key]} for key in run.labels],
        )
    stored = StoredRun(number, run, service, 0, 0, "")
    return _apply(connection, stored, Change(stored, events)).stored


def _apply(connection: Connection, before: StoredRun, change: Change) -> Change:
    """Apply events to the run and store what has changed."""
    run, sequence, happened = run_pb2.Run(), before.sequence, []
    run.CopyFrom(before.run)
    for event in change.events:
        if transitions.may_follow(run, event) and history.apply(run, event):
            sequence += 1
            event.sequence = sequence
            happened.append(event)
    if happened:
        connection.execute(
            _INSERT_EVENTS,
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
            _UPDATE,
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


def _get(
    connection: Connection, run_id: str, statement: Select[*_RunRow] = _BY_ID
) -> StoredRun | None:
    if "\0" in run_id:  # which Postgres refuses in any text
        return None
    row = connection.execute(statement, {"run_id": run_id}).one_or_none()
    return None if row is None else _stored(row)


def _get_to_change(connection: Connection, run_id: str) -> StoredRun | None:
    """A run, locked until this transaction has ended."""
    return _get(connection, run_id, _BY_ID_TO_CHANGE)


def _stored(row: Row[*_RunRow]) -> StoredRun:
    number, run, service, sequence, reported, token = row
    return StoredRun(number, run_pb2.Run.FromString(run), service, sequence, reported, token)


def _requested(run: run_pb2.Run) -> tuple[run_pb2.RunSpec, dict[str, str], int]:
    """What of a run follows from its request."""
    return run.spec, dict(run.labels), run.priority
