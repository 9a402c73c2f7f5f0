"""When does a run begin? When runner and workers have come, or when waiting has taken too long."""

from __future__ import annotations

from dataclasses import dataclass, field

from sumgrad.trainer.server.rounds.membership import ANSWER_SECONDS, RUNNER

JOIN_SECONDS = 10.0
"""A run begins without the workers that are later than the first one by this much."""


@dataclass
class Gathering:
    """The state between messages; no input or output, time comes in with them.

    Attributes:
        expected: workers that the run is to begin with.
        began: when the server began to wait.
        until: when the run begins even if a worker is missing; None once it can begin.
        workers: those that have spoken.
        has_runner: the runner has spoken, so that no report is lost.
    """

    expected: int
    began: float
    until: float | None = None
    workers: set[str] = field(default_factory=set)
    has_runner: bool = False

    def __post_init__(self) -> None:
        self.until = self.began + ANSWER_SECONDS

    def spoke(self, peer: str, now: float, stops: bool = False) -> None:
        """A message has arrived; ``stops`` if the runner asks for a pause or a cancellation."""
        if peer == RUNNER:
            self.has_runner = True
        elif not self.workers:
            self.until = now + JOIN_SECONDS
        if peer != RUNNER:
            self.workers.add(peer)
        if stops or (self.has_runner and len(self.workers) >= self.expected):
            self.until = None
