"""The form of a token, ``sgt_<id>_<secret>``, which clients and the service both check."""

from __future__ import annotations

import re

_FORM = re.compile(r"sgt_([0-9a-f]{12})_([0-9a-f]{64})")


def id_and_secret(text: str) -> tuple[str, str] | None:
    """The parts of a token, or None if it does not look like one."""
    found = _FORM.fullmatch(text)
    return None if found is None else (found[1], found[2])
