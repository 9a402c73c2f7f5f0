"""Let lists look for owner, state, name, time and labels, and keep each request once."""

from typing import Any

from alembic.operations import Operations
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, Text, text

from sumgrad.trainer.v1 import run_pb2

revision = "0002"
down_revision = "0001"


def upgrade(op: Operations) -> None:
    zero = text("0")
    for column in (
        Column("owner", Text, nullable=False, server_default=""),
        Column("request", Text),
        Column("state", Integer, nullable=False, server_default=zero),
        Column("name", Text, nullable=False, server_default=""),
        Column("priority", Integer, nullable=False, server_default=zero),
        Column("created", BigInteger, nullable=False, server_default=zero),
    ):
        op.add_column("runs", column)
    op.drop_index("runs_open", "runs")
    op.drop_column("runs", "ended")
    _fill(op)
    op.create_index("runs_request", "runs", ["owner", "request"], unique=True)
    op.create_index("runs_created", "runs", ["created", "number"])
    op.create_index("runs_state", "runs", ["state", "created", "number"])
    op.create_index("runs_name", "runs", ["name", "created", "number"])
    op.create_table(
        "labels",
        Column("number", BigInteger, ForeignKey("runs.number"), primary_key=True),
        Column("key", Text, primary_key=True),
        Column("value", Text, nullable=False),
    )
    op.create_index("labels_value", "labels", ["key", "value", "number"])


def _fill(op: Operations) -> None:
    """Set the new columns from the runs' messages."""
    connection = op.get_bind()
    found = connection.execute(text("SELECT number, run FROM runs")).all()
    if found:
        connection.execute(
            text(
                "UPDATE runs SET state = :state, name = :name, created = :created "
                "WHERE number = :number"
            ),
            [_columns(number, run_pb2.Run.FromString(run)) for number, run in found],
        )


def _columns(number: int, run: run_pb2.Run) -> dict[str, Any]:
    return {
        "number": number,
        "state": run.state,
        "name": run.spec.name,
        "created": run.created.ToMicroseconds(),
    }
