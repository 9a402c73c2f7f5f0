"""Make the table of users' tokens, and let lists look for an owner in the order of creation."""

from alembic.operations import Operations
from sqlalchemy import BigInteger, Column, LargeBinary, Text

revision = "0003"
down_revision = "0002"


def upgrade(op: Operations) -> None:
    op.create_table(
        "tokens",
        Column("id", Text, primary_key=True),
        Column("digest", LargeBinary, nullable=False),
        Column("user", Text, nullable=False),
        Column("role", Text, nullable=False),
        Column("created", BigInteger, nullable=False),
        Column("expires", BigInteger),
        Column("revoked", BigInteger),
    )
    op.create_index("runs_owner", "runs", ["owner", "created", "number"])
