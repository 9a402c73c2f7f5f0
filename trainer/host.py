"""This machine: where state is kept, and how many cores this process may use."""

from __future__ import annotations

import os
from pathlib import Path


def state_directory() -> Path:
    """``$SUMGRAD_STATE``, or ``sumgrad`` under the XDG state folder."""
    named = os.environ.get("SUMGRAD_STATE")
    if named:
        return Path(named).absolute()
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "sumgrad"


def usable_cores() -> int:
    """Cores of this machine that this process may use."""
    return len(os.sched_getaffinity(0))
