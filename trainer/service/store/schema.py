"""The run store's tables: every column's name and type, said once.

A change of a table is a change here and a new file in ``migrations``; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Named,
    Table,
    Text,
    TypedColumns,
    text,
)

METADATA = MetaData()

REVISION = "0004"
"""The newest migration: the one that makes the tables of this module."""


class RunColumns(TypedColumns):
    """A run; what lists look for stands beside its message."""

    number: Named[int] = Column(
        BigInteger().with_variant(Integer, "sqlite"), Identity(), primary_key=True
    )
    id: Named[str] = Column(Text, unique=True)
    # The service that looks after the run.
    service: Named[str] = Column(Text)
    # The sequence number of the run's last event.
    sequence: Named[int] = Column(BigInteger)
    # The number of the attempt's last stored report.
    reported: Named[int] = Column(BigInteger)
    # The secret that the attempt's runner presents.
    token: Named[str] = Column(Text)
    # sumgrad.trainer.v1.Run
    run: Named[bytes] = Column(LargeBinary)
    # The user who submitted the run.
    owner: Named[str] = Column(Text, server_default="")
    # The client's id of the submission, NULL without one.
    request: Named[str | None] = Column(Text)
    # sumgrad.trainer.v1.RunState
    state: Named[int] = Column(Integer, server_default=text("0"))
    name: Named[str] = Column(Text, server_default="")
    priority: Named[int] = Column(Integer, server_default=text("0"))
    # Microseconds since 1970.
    created: Named[int] = Column(BigInteger, server_default=text("0"))


class EventColumns(TypedColumns):
    """Something that happened to a run."""

    number: Named[int] = Column(BigInteger, ForeignKey("runs.number"), primary_key=True)
    sequence: Named[int] = Column(BigInteger, primary_key=True)
    # sumgrad.trainer.v1.Event
    event: Named[bytes] = Column(LargeBinary)


class LabelColumns(TypedColumns):
    """A label of a run."""

    number: Named[int] = Column(BigInteger, ForeignKey("runs.number"), primary_key=True)
    key: Named[str] = Column(Text, primary_key=True)
    value: Named[str] = Column(Text)


class TokenColumns(TypedColumns):
    """What is kept of a user's token; times are microseconds since 1970."""

    id: Named[str] = Column(Text, primary_key=True)
    # SHA-256 of the secret.
    digest: Named[bytes] = Column(LargeBinary)
    user: Named[str] = Column(Text)
    # sumgrad.trainer.service.access.caller.Role
    role: Named[str] = Column(Text)
    created: Named[int] = Column(BigInteger)
    # NULL for never.
    expires: Named[int | None] = Column(BigInteger)
    # NULL while it is valid.
    revoked: Named[int | None] = Column(BigInteger)


RUNS = Table(
    "runs",
    METADATA,
    RunColumns,
    Index("runs_request", "owner", "request", unique=True),
    Index("runs_created", "created", "number"),
    Index("runs_state", "state", "created", "number"),
    Index("runs_name", "name", "created", "number"),
    Index("runs_owner", "owner", "created", "number"),
    sqlite_autoincrement=True,
)
EVENTS = Table("events", METADATA, EventColumns, sqlite_with_rowid=False)
LABELS = Table("labels", METADATA, LabelColumns, Index("labels_value", "key", "value", "number"))
TOKENS = Table("tokens", METADATA, TokenColumns)
