"""From a call's metadata to its caller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from sumgrad.trainer.service.access.caller import Caller
from sumgrad.trainer.service.access.token_store import TokenStore
from sumgrad.trainer.service.access.tokens import StoredToken
from sumgrad.trainer.token_format import id_and_secret

FRESH_SECONDS = 2.0
"""How long a token is remembered: a revoked one works no longer than this."""

_ADVICE = "`sumgrad token create` makes one, and SUMGRAD_TOKEN or SUMGRAD_TOKEN_FILE hands it over"


class NotAuthenticatedError(Exception):
    """The call has no valid token."""


class Authenticator:
    """Identifies callers by their tokens."""

    def __init__(self, tokens: TokenStore) -> None:
        self._tokens = tokens
        # Of its own: files and clusters that hang may hold every thread of the event loop's pool,
        # and without this one no call could be identified then.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tokens")
        # Only tokens that exist, so there are never more than the store has.
        self._known: dict[str, tuple[float, StoredToken]] = {}

    async def caller(self, metadata: Sequence[tuple[str, str | bytes]]) -> Caller:
        """The caller that a call's metadata identify.

        Raises:
            NotAuthenticatedError
            StoreUnavailableError: tokens cannot be looked up now.
        """
        given = [value for key, value in metadata if key == "authorization"]
        if not given:
            raise NotAuthenticatedError(f"this service asks for a token; {_ADVICE}")
        kind, _, text = str(given[0]).partition(" ")
        parts = id_and_secret(text)
        if len(given) > 1 or kind.lower() != "bearer" or parts is None:
            raise NotAuthenticatedError(
                f"the call's authorization is not one 'Bearer sgt_<id>_<secret>'; {_ADVICE}"
            )
        token_id, secret = parts
        token = await self._look_up(token_id)
        if token is None or not token.is_of(secret):
            raise NotAuthenticatedError(f"the token is not known here; {_ADVICE}")
        if token.revoked is not None:
            raise NotAuthenticatedError(f"the token {token_id} was revoked; {_ADVICE}")
        if token.has_expired(time.time_ns() // 1000):
            raise NotAuthenticatedError(f"the token {token_id} has expired; {_ADVICE}")
        return token.caller

    async def _look_up(self, token_id: str) -> StoredToken | None:
        now = time.monotonic()
        read, token = self._known.get(token_id, (now - FRESH_SECONDS, None))
        if token is not None and now - read < FRESH_SECONDS:
            return token
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._thread, self._tokens.get, token_id)
        if found is None:
            self._known.pop(token_id, None)
        else:
            # The time before the store was asked: what was revoked meanwhile counts from there.
            self._known[token_id] = now, found
        return found

    def close(self) -> None:
        """Wait for what is under way."""
        self._thread.shutdown()
