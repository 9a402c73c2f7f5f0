"""How long the phases of a step take, as histograms."""

from __future__ import annotations

from bisect import bisect_left

from sumgrad.trainer.v1 import runner_pb2

PHASES = ("compute", "reduce", "update", "channel")
"""Compute is the slowest worker's own time; channel is what else passes until all have answered."""

BOUNDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
)  # fmt: skip
"""Upper bounds of the buckets in seconds; one more bucket takes the rest."""


class StepTimes:
    """Counts steps by phase and duration."""

    def __init__(self) -> None:
        self._counts = {phase: [0] * (len(BOUNDS) + 1) for phase in PHASES}
        self._sums = dict.fromkeys(PHASES, 0.0)

    def observe(self, **seconds: float) -> None:
        """Add one step's phases."""
        for phase, value in seconds.items():
            self._counts[phase][bisect_left(BOUNDS, value)] += 1
            self._sums[phase] += value

    def message(self) -> runner_pb2.StepTimes:
        return runner_pb2.StepTimes(
            phases=[
                runner_pb2.Phase(name=p, sum_seconds=self._sums[p], counts=self._counts[p])
                for p in PHASES
            ]
        )
