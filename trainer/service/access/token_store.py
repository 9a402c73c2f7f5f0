"""The tokens in the run store's database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, bindparam, insert, select, update

from sumgrad.trainer.service.access.caller import Role
from sumgrad.trainer.service.access.tokens import StoredToken
from sumgrad.trainer.service.store.database import Database
from sumgrad.trainer.service.store.schema import tokens as table


class TokenStore:
    """Safe to call from any thread. Every method raises StoreUnavailableError while the database
    cannot be used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, token: StoredToken) -> None:
        with self._database.writing() as connection:
            connection.execute(insert(table), token._asdict() | {"role": token.role.value})

    def get(self, token_id: str) -> StoredToken | None:
        with self._database.reading() as connection:
            row = connection.execute(_BY_ID, {"token_id": token_id}).one_or_none()
        return None if row is None else _stored(row)

    def list(self) -> list[StoredToken]:
        """Oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(_ALL.order_by(table.c.created, table.c.id))
            return [_stored(row) for row in rows]

    def revoke(self, token_id: str, now: int) -> bool:
        """End a token; one that was revoked before stays so. False if there is no such token."""
        with self._database.writing() as connection:
            connection.execute(
                update(table)
                .where(table.c.id == token_id, table.c.revoked.is_(None))
                .values(revoked=now)
            )
            return connection.execute(_BY_ID, {"token_id": token_id}).one_or_none() is not None


_ALL = select(*(table.c[name] for name in StoredToken._fields))
_BY_ID = _ALL.where(table.c.id == bindparam("token_id"))


def _stored(row: Row[*tuple[Any, ...]]) -> StoredToken:
    token = StoredToken(*row)
    return token._replace(digest=bytes(token.digest), role=Role(token.role))
