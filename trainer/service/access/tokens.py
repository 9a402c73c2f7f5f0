"""Access tokens: how one is made, and what the service keeps of it.

Only the SHA-256 of a token's secret is stored. Slow hashes protect passwords, which can be guessed;
a secret of 256 random bits cannot be guessed at any speed.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import NamedTuple

from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.service.access.caller import Caller, Role
from sumgrad.trainer.token_format import token_text

_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class StoredToken(NamedTuple):
    """A token as it is stored; times are microseconds since 1970."""

    id: str
    digest: bytes
    user: str
    role: Role
    created: int
    expires: int | None
    revoked: int | None

    @property
    def caller(self) -> Caller:
        return Caller(self.user, self.role)

    def has_expired(self, now: int) -> bool:
        return self.expires is not None and now >= self.expires

    def is_of(self, secret: str) -> bool:
        """Whether this is the secret, compared in constant time."""
        return secrets.compare_digest(self.digest, _digest(secret))


def new_token(user: str, role: Role, now: int, lifetime: int | None) -> tuple[str, StoredToken]:
    """Make a token: its text, which is not stored, and what is.

    Args:
        lifetime: microseconds until it expires, None for never.

    Raises:
        UsageError: the name is not allowed for a user.
    """
    if not _USER.fullmatch(user):
        raise UsageError(
            f"--user must be 1 to 64 letters, digits or '._@-' and begin with a letter or digit, "
            f"got {user[:80]!r}"
        )
    name, secret = secrets.token_hex(6), secrets.token_hex(32)
    expires = None if lifetime is None else now + lifetime
    stored = StoredToken(name, _digest(secret), user, role, now, expires, None)
    return token_text(name, secret), stored


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
