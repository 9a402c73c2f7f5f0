"""Receipts: everything that a result follows from, by digests, so that it can be reproduced."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sumgrad.trainer.record.code_digest import code_digest
from sumgrad.trainer.v1 import run_pb2
from sumgrad.workers.host.fingerprint import Fingerprint

WITHOUT_EFFECT = ("name", "workers", "snapshots", "faults")
"""Sections of a specification that never change a run's result."""


def spec_digest(document: dict[str, Any]) -> str:
    """SHA-256 over what of a specification decides the result, as canonical JSON."""
    deciding = {key: value for key, value in document.items() if key not in WITHOUT_EFFECT}
    content = json.dumps(deciding, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()


@cache
def code_version() -> str:
    """The package's version and, after a plus, 12 digits of the digest of the deciding code."""
    return f"{version('sumgrad')}+{code_digest(Path(__file__).parents[2])[:12]}"


def differences(then: run_pb2.Receipt, now: run_pb2.Receipt) -> list[str]:
    """What of two receipts differs besides the specification, each as a clause for people."""
    found = []
    for name, before, after in (
        ("code", then.code_version, now.code_version),
        ("data", then.data_digest, now.data_digest),
        ("starting weights", then.start_digest, now.start_digest),
    ):
        if before != after:
            found.append(f"{name} {_short(after)} instead of {_short(before)}")
    if then.fingerprint != now.fingerprint:
        own = Fingerprint(now.fingerprint, dict(now.fingerprint_parts))
        parts = own.differences(then.fingerprint_parts)
        found.append(f"fingerprint ({parts})" if parts else "fingerprint")
    return found


def _short(value: str) -> str:
    """A digest by its first digits; a version as it is."""
    return f"{value[:16]}…" if len(value) == 64 else value or "none"
