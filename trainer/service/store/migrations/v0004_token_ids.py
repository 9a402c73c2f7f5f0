"""Forbid tokens without an id: SQLite, alone, lets a primary key be NULL unless told otherwise."""

from alembic.operations import Operations
from sqlalchemy import Text

revision = "0004"
down_revision = "0003"


def upgrade(op: Operations) -> None:
    with op.batch_alter_table("tokens") as tokens:
        tokens.alter_column("id", existing_type=Text(), nullable=False)
