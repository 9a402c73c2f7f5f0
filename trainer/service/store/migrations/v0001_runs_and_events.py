"""Make the tables of runs and events."""

from alembic.operations import Operations
from sqlalchemy import BigInteger, Column, ForeignKey, Identity, Integer, LargeBinary, Text, text

revision = "0001"
down_revision = None


def upgrade(op: Operations) -> None:
    op.create_table(
        "runs",
        Column(
            "number",
            BigInteger().with_variant(Integer, "sqlite"),
            Identity(),
            primary_key=True,
        ),
        Column("id", Text, nullable=False, unique=True),
        Column("service", Text, nullable=False),
        Column("ended", Integer, nullable=False),
        Column("sequence", BigInteger, nullable=False),
        Column("reported", BigInteger, nullable=False),
        Column("token", Text, nullable=False),
        Column("run", LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    still_open = text("ended = 0")
    op.create_index(
        "runs_open", "runs", ["ended"], sqlite_where=still_open, postgresql_where=still_open
    )
    op.create_table(
        "events",
        Column("number", BigInteger, ForeignKey("runs.number"), primary_key=True),
        Column("sequence", BigInteger, primary_key=True),
        Column("event", LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
