"""What a run's record says of how its result came to be, so that it can be had again."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("layers", "workers", "trainer")

WITHOUT_EFFECT = ("name", "workers", "snapshots", "faults")
"""Sections of a specification that never change a run's result."""


def spec_digest(document: dict[str, Any]) -> str:
    """SHA-256 over what of a specification decides the result, as canonical JSON."""
    deciding = {key: value for key, value in document.items() if key not in WITHOUT_EFFECT}
    content = json.dumps(deciding, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()


@lru_cache
def code_version() -> str:
    """The package's version, and the first digits of SHA-256 over its sources."""
    root = Path(__file__).parents[1]
    sha = hashlib.sha256()
    for path in sorted(path for name in PACKAGES for path in (root / name).rglob("*.py")):
        sha.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes() + b"\0")
    return f"{version('sumgrad')}+{sha.hexdigest()[:12]}"
