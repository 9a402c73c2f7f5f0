"""How long a worker may take, from how long workers have taken."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from statistics import median

RECENT = 15
"""Answers that the usual time is the median of."""


@dataclass(frozen=True)
class Deadlines:
    """The bounds on a worker's time.

    Attributes:
        factor: a range is late after this many times the time that it usually takes.
        floor_seconds: no range is late before this.
        first_seconds: when a range is late while nothing like it has been measured.
        silence_factor: a worker is silent after this many times the time after which what it
            computes is late.
        silence_seconds: no worker is silent before this.
    """

    factor: float = 4.0
    floor_seconds: float = 1.0
    first_seconds: float = 30.0
    silence_factor: float = 10.0
    silence_seconds: float = 15.0


class TaskTimes:
    """What a unit of each kind of round usually takes, and the bounds that follow."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=RECENT))

    def add(self, kind: str, units: int, seconds: float) -> None:
        """An answer for this many units took this long."""
        self._recent[kind].append(seconds / units)

    def late_after(self, kind: str, units: int) -> float:
        """Seconds after which a range of this many units is late."""
        recent = self._recent.get(kind)
        if recent is None:
            return self._deadlines.first_seconds
        # A median: one answer that took minutes must not excuse the next that does.
        usual = median(recent)
        return max(self._deadlines.floor_seconds, self._deadlines.factor * usual * units)

    def silent_after(self, kind: str, units: int) -> float:
        """Seconds after which the worker that was given this many units is silent."""
        late = self.late_after(kind, units)
        return max(self._deadlines.silence_seconds, self._deadlines.silence_factor * late)
