"""What the workers have answered in one round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sumgrad.layers.base.arrays import Array
from sumgrad.trainer.arithmetic.tally import exact_sum
from sumgrad.workers.summation_tree import Node
from sumgrad.workers.v1 import work_pb2


@dataclass
class RoundAnswers:
    """Answers of one round so far.

    Attributes:
        nodes, sums, holders: summed gradients: which tree node, its vector, and the worker in
            whose memory it lies; one entry each.
        losses: summed loss of each unit (shard or chunk) that is there.
        metric: sums of the loss's metric, those of one unit after those of another.
        rows: rows that the units had.
        findings: of a diagnosis: what is not finite, by shard.
        compute_seconds: of the slowest worker.
    """

    nodes: list[Node] = field(default_factory=list)
    sums: list[Array] = field(default_factory=list)
    holders: list[str] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    metric: list[float] = field(default_factory=list)
    rows: int = 0
    findings: dict[int, str] = field(default_factory=dict)
    compute_seconds: float = 0.0

    def add(
        self, worker: str, answer: work_pb2.Answer, nodes: Sequence[Node], sums: Sequence[Array]
    ) -> None:
        """Take an answer that belongs to the round.

        Args:
            nodes, sums: the tree nodes that make up the range of a gradient's answer, and the
                vector of each; nothing of other answers.
        """
        self.nodes += nodes
        self.sums += sums
        self.holders += [worker] * len(nodes)
        self.losses += answer.losses
        self.metric += answer.metric
        self.rows += answer.rows
        self.findings |= {found.shard: found.problem for found in answer.findings}
        self.compute_seconds = max(self.compute_seconds, answer.compute_seconds)

    def copy_sums_of(self, worker: str) -> None:
        """Copy what lies in a worker's memory, because its next range overwrites it.

        After that the round needs nothing there any more, whether or not the range is still wanted
        when the worker computes it. In later rounds a worker gets nothing before it has answered.
        """
        for i, holder in enumerate(self.holders):
            if holder == worker:
                self.sums[i] = self.sums[i].copy()

    @property
    def loss(self) -> float:
        return exact_sum(self.losses)

    @property
    def metric_sums(self) -> list[float]:
        """The metric's sums over all units."""
        width = len(self.metric) // len(self.losses)
        return [exact_sum(self.metric[i::width]) for i in range(width)]


def first_problem(findings: dict[int, str]) -> str:
    """What a diagnosis found in the first shard that has a problem, as a clause."""
    if not findings:
        return (
            "the gradient or loss was NaN or infinite, but not when it was computed again, which "
            "points to the memory or processor of a worker's host"
        )
    shard = min(findings)
    return f"{findings[shard]} in shard {shard}"
