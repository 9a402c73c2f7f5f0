"""What each user has used lately: CPU seconds that decay, as in the fair share of batch systems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

HALF_LIFE_SECONDS = 3600.0
NEGLIGIBLE = 0.01


class Usage:
    """CPU seconds by user, which halve every HALF_LIFE_SECONDS. Times are a clock's seconds."""

    def __init__(self, now: float) -> None:
        self._now = now
        self.cpu_seconds: dict[str, float] = {}

    def pass_time(self, now: float, held: Mapping[str, int]) -> None:
        """Count the CPUs that each user has held since the last call."""
        seconds = max(0.0, now - self._now)
        self._now = max(self._now, now)
        kept = 0.5 ** (seconds / HALF_LIFE_SECONDS)
        used = Counter({owner: value * kept for owner, value in self.cpu_seconds.items()})
        for owner, cpus in held.items():
            used[owner] += cpus * seconds  # type: ignore[assignment]
        self.cpu_seconds = {o: value for o, value in used.items() if value > NEGLIGIBLE}
