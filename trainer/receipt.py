"""What a run's record says of how its result came to be, so that it can be had again."""

from __future__ import annotations

import hashlib
import json
from typing import Any

WITHOUT_EFFECT = ("name", "workers", "snapshots", "faults")
"""Sections of a specification that never change a run's result."""


def spec_digest(document: dict[str, Any]) -> str:
    """SHA-256 over what of a specification decides the result, as canonical JSON."""
    deciding = {key: value for key, value in document.items() if key not in WITHOUT_EFFECT}
    content = json.dumps(deciding, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()
