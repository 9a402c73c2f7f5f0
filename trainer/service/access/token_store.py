"""The tokens in the run store's database."""

from __future__ import annotations

from sqlalchemy import Row, bindparam, insert, select, update

from sumgrad.trainer.service.access.caller import Role
from sumgrad.trainer.service.access.tokens import StoredToken
from sumgrad.trainer.service.store.database import Database
from sumgrad.trainer.service.store.schema import TOKENS


class TokenStore:
    """Every method may be called from any thread.

    Every method raises StoreUnavailableError while the database cannot be used.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, token: StoredToken) -> None:
        with self._database.writing() as connection:
            connection.execute(_INSERT, token._asdict() | {"role": token.role.value})

    def get(self, token_id: str) -> StoredToken | None:
        with self._database.reading() as connection:
            row = connection.execute(_BY_ID, {"token_id": token_id}).one_or_none()
        return None if row is None else _stored(row)

    def list(self) -> list[StoredToken]:
        """Oldest first."""
        with self._database.reading() as connection:
            return [_stored(row) for row in connection.execute(_OLDEST_FIRST)]

    def revoke(self, token_id: str, now: int) -> bool:
        """Revoke a token, unless it was revoked before.

        Returns:
            False if there is no such token.
        """
        with self._database.writing() as connection:
            connection.execute(_REVOKE, {"token_id": token_id, "revoked": now})
            return connection.execute(_BY_ID, {"token_id": token_id}).one_or_none() is not None


_ALL = select(
    TOKENS.c.id,
    TOKENS.c.digest,
    TOKENS.c.user,
    TOKENS.c.role,
    TOKENS.c.created,
    TOKENS.c.expires,
    TOKENS.c.revoked,
)
_BY_ID = _ALL.where(TOKENS.c.id == bindparam("token_id"))
_OLDEST_FIRST = _ALL.order_by(TOKENS.c.created, TOKENS.c.id)
_INSERT = insert(TOKENS)
_REVOKE = update(TOKENS).where(TOKENS.c.id == bindparam("token_id"), TOKENS.c.revoked.is_(None))


def _stored(row: Row[str, bytes, str, str, int, int | None, int | None]) -> StoredToken:
    token_id, digest, user, role, created, expires, revoked = row
    return StoredToken(token_id, bytes(digest), user, Role(role), created, expires, revoked)
