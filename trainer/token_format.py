"""The text of an access token: ``sgt_<id>_<secret>``.

A leaf, so that a client can recognise a token without loading the service.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(r"sgt_([0-9a-f]{12})_([0-9a-f]{64})")


def id_and_secret(text: str) -> tuple[str, str] | None:
    """The two parts of a token's text, or None if it does not look like a token."""
    found = _TOKEN.fullmatch(text)
    return None if found is None else (found[1], found[2])


def token_text(token_id: str, secret: str) -> str:
    """The text that a user keeps and sends with every call."""
    return f"sgt_{token_id}_{secret}"
