"""Waiting for a condition, with a bound."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

SECONDS = 30.0
"""Bound of every wait; nothing that works takes this long."""


T = TypeVar("T")


def eventually(condition: Callable[[], T], seconds: float = SECONDS) -> T:
    """The condition's value as soon as it is true; AssertionError if that takes too long."""
    pause, deadline = threading.Event(), time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        pause.wait(0.02)
    return value
