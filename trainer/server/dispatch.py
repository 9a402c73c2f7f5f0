"""Which units of a round go to which worker, and what an answer or a loss means.

A state machine without input or output: events in, instructions out. A round is one pass over
units 0 … n−1 (the shards of a step, or the chunks of an evaluation). It is complete when every
unit has been answered exactly once; who answered it does not matter, because anybody's answer
has the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise


@dataclass(frozen=True, order=True)
class Range:
    """The units [begin, end)."""

    begin: int
    end: int


@dataclass(frozen=True)
class RoundBegan:
    round: int
    units: int


@dataclass(frozen=True)
class WorkerJoined:
    worker: str


@dataclass(frozen=True)
class WorkerLost:
    worker: str


@dataclass(frozen=True)
class Answered:
    worker: str
    round: int
    range: Range


Event = RoundBegan | WorkerJoined | WorkerLost | Answered


@dataclass(frozen=True)
class Assign:
    """Send this range of the current round to this worker."""

    worker: str
    range: Range


@dataclass(frozen=True)
class Accept:
    """The answer just handled belongs to the round; use it."""


@dataclass(frozen=True)
class RoundComplete:
    """Every unit has an accepted answer."""


Instruction = Assign | Accept | RoundComplete


@dataclass
class Dispatch:
    """The state between events.

    Attributes:
        round: number of the current round; 0 before the first.
        assigned: every living worker, with the range it is computing or None.
        waiting: ranges that nobody is computing; empty whenever a worker is idle.
        missing: units of the round without an accepted answer.
    """

    round: int = 0
    assigned: dict[str, Range | None] = field(default_factory=dict)
    waiting: list[Range] = field(default_factory=list)
    missing: int = 0

    def handle(self, event: Event) -> list[Instruction]:
        """Take one event; what is returned is to be done in order."""
        match event:
            case RoundBegan(number, units):
                assert self.missing == 0, "a round began before the last one was complete"
                self.round, self.missing = number, units
                self.assigned = dict.fromkeys(self.assigned)
                self.waiting = [Range(0, units)]
            case WorkerJoined(worker):
                self._release(worker)
                self.assigned[worker] = None
            case WorkerLost(worker):
                self._release(worker)
                self.assigned.pop(worker, None)
            case Answered(worker, number, answered):
                if number != self.round or self.assigned.get(worker) != answered:
                    return []
                self.assigned[worker] = None
                self.missing -= answered.end - answered.begin
                if self.missing == 0:
                    return [Accept(), RoundComplete()]
                return [Accept(), *self._assign()]
        return list(self._assign())

    def _release(self, worker: str) -> None:
        """What the worker was computing is waiting again."""
        held = self.assigned.get(worker)
        if held is not None:
            self.waiting.append(held)

    def _assign(self) -> list[Assign]:
        """Spread what waits over the idle workers, as evenly as whole units allow."""
        idle = [worker for worker, held in self.assigned.items() if held is None]
        if not idle or not self.waiting:
            return []
        pieces = _split(sorted(self.waiting), len(idle))
        given = list(zip(idle, pieces, strict=False))
        self.assigned.update(given)
        self.waiting = pieces[len(given) :]
        return [Assign(worker, piece) for worker, piece in given]


def _split(ranges: list[Range], parts: int) -> list[Range]:
    """Cut the longest ranges in two until there is one for each part, or only single units.

    One range is cut into ``parts`` pieces whose lengths differ by at most one.
    """
    if len(ranges) == 1:
        begin, end = ranges[0].begin, ranges[0].end
        parts = min(parts, end - begin)
        cuts = [begin + (end - begin) * i // parts for i in range(parts + 1)]
        return [Range(a, b) for a, b in pairwise(cuts)]
    pieces = list(ranges)
    while len(pieces) < parts:
        longest = max(pieces, key=lambda piece: piece.end - piece.begin)
        if longest.end - longest.begin == 1:
            break
        middle = (longest.begin + longest.end) // 2
        at = pieces.index(longest)
        pieces[at : at + 1] = [Range(longest.begin, middle), Range(middle, longest.end)]
    return pieces
