"""Which units of a round go to which worker, and what an answer, a loss or a silence means.

A state machine without input or output: events in, instructions out; time comes in with the
events. A round is one pass over units 0 … n−1 (the shards of a step, or the chunks of an
evaluation). It is complete when every unit has been answered exactly once; who answered it does
not matter, because every worker's answer has the same bits. So a range that is late is given to an
idle worker as well, and the first answer counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

from sumgrad.trainer.server.rounds.deadlines import Deadlines, TaskTimes


@dataclass(frozen=True, order=True)
class Range:
    """The units [begin, end)."""

    begin: int
    end: int

    def __len__(self) -> int:
        return self.end - self.begin


@dataclass(frozen=True)
class RoundBegan:
    """Rounds of one ``kind`` take about the same time a unit."""

    round: int
    units: int
    kind: str


@dataclass(frozen=True)
class WorkerJoined:
    worker: str


@dataclass(frozen=True)
class WorkerLost:
    worker: str


@dataclass(frozen=True)
class WorkerRetired:
    """The worker is to go when it has answered what it is computing."""

    worker: str


@dataclass(frozen=True)
class Answered:
    worker: str
    round: int
    range: Range


@dataclass(frozen=True)
class Tick:
    """Time has passed, and every answer that has arrived has been handled."""


Event = RoundBegan | WorkerJoined | WorkerLost | WorkerRetired | Answered | Tick


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


@dataclass(frozen=True)
class Expel:
    """Stop this worker: it has computed the same range for ``silent_seconds``."""

    worker: str
    silent_seconds: float


@dataclass(frozen=True)
class Release:
    """Stop this worker: it was retired and is idle."""

    worker: str


Instruction = Assign | Accept | RoundComplete | Expel | Release


@dataclass
class Assignment:
    """What a worker is computing.

    Attributes:
        given: when it was assigned.
        copy: another worker was computing the range already.
        wanted: the range has no accepted answer; never so once its round is complete.
    """

    round: int
    kind: str
    range: Range
    given: float
    copy: bool
    wanted: bool = True


@dataclass
class Dispatch:
    """The state between events.

    Attributes:
        round: number of the current round; 0 before the first.
        kind: its kind.
        assigned: every living worker, with what it is computing or None. A worker is busy until it
            answers, also when its range is no longer wanted.
        retiring: workers that go when they are idle; all of them are busy or have yet to join.
        waiting: ranges that no worker is computing; empty whenever a worker is idle.
        missing: units of the round without an accepted answer.
        stale_answers, copies, dropped_copies, expelled: counted so far, see DispatchCounts in
            run.proto.
    """

    deadlines: Deadlines = field(default_factory=Deadlines)
    round: int = 0
    kind: str = ""
    assigned: dict[str, Assignment | None] = field(default_factory=dict)
    retiring: set[str] = field(default_factory=set)
    waiting: list[Range] = field(default_factory=list)
    missing: int = 0
    stale_answers: int = 0
    copies: int = 0
    dropped_copies: int = 0
    expelled: int = 0

    def __post_init__(self) -> None:
        self._times = TaskTimes(self.deadlines)

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Take one event; what is returned is to be done in order.

        Args:
            now: seconds of a clock that never goes back.
        """
        first: list[Instruction] = []
        match event:
            case RoundBegan(number, units, kind):
                assert self.missing == 0, "a round began before the last one was complete"
                self.round, self.kind, self.missing = number, kind, units
                self.waiting = [Range(0, units)]
            case WorkerJoined(worker):
                if worker in self.assigned:
                    self._forget(worker)
                self.assigned[worker] = None
            case WorkerLost(worker):
                self._forget(worker)
            case WorkerRetired(worker):
                self.retiring.add(worker)
            case Answered(worker, number, answered):
                first = self._answered(worker, number, answered, now)
            case Tick():
                first = self._expel(now)
        return [*first, *self._release(), *self._give_out(now)]

    def deadline(self) -> float | None:
        """The earliest time at which a Tick would have something to do."""
        held = [held for held in self.assigned.values() if held is not None]
        times = [self._silent_at(one) for one in held]
        if self._idle():
            times += self._late_at().values()
        return min(times, default=None)

    def _answered(self, worker: str, number: int, answered: Range, now: float) -> list[Instruction]:
        held = self.assigned.get(worker)
        if held is None or (held.round, held.range) != (number, answered):
            self.stale_answers += 1
            return []
        self.assigned[worker] = None
        if not held.wanted:
            self.dropped_copies += held.copy
            self.stale_answers += not held.copy
            return []
        for other in self._computing(answered):
            other.wanted = False
        self._times.add(held.kind, len(answered), now - held.given)
        self.missing -= len(answered)
        return [Accept()] if self.missing else [Accept(), RoundComplete()]

    def _expel(self, now: float) -> list[Instruction]:
        """Expel the workers that have been silent for too long."""
        silent = [
            Expel(worker, now - held.given)
            for worker, held in self.assigned.items()
            if held is not None and self._silent_at(held) <= now
        ]
        for one in silent:
            self._forget(one.worker)
        self.expelled += len(silent)
        return list(silent)

    def _forget(self, worker: str) -> None:
        """Remove a worker; what it alone was computing waits again."""
        held = self.assigned.pop(worker, None)
        self.retiring.discard(worker)
        if held is not None and held.wanted and not self._computing(held.range):
            self.waiting.append(held.range)

    def _release(self) -> list[Instruction]:
        """Release the retired workers that are idle."""
        if not self.retiring:
            return []
        free = sorted(self.retiring.intersection(self._idle()))
        for worker in free:
            self._forget(worker)
        return [Release(worker) for worker in free]

    def _give_out(self, now: float) -> list[Instruction]:
        """Assign what waits to idle workers, and what is late to those that are left."""
        idle = self._idle() if self.missing else []
        given = self._assign(idle, now) if idle and self.waiting else []
        left = idle[len(given) :]
        return given + self._copy(left, now) if left else given

    def _assign(self, idle: list[str], now: float) -> list[Instruction]:
        """Spread what waits over the idle workers, as evenly as whole units allow."""
        pieces = _split(sorted(self.waiting), len(idle))
        self.waiting = pieces[len(idle) :]
        pairs = zip(idle, pieces, strict=False)
        return [self._give(worker, piece, now, copy=False) for worker, piece in pairs]

    def _copy(self, idle: list[str], now: float) -> list[Instruction]:
        """Give each late range to one more worker, as far as there are idle ones.

        A range is late when everybody who computes it is. So while idle workers are left, one
        joins in at each deadline, and two workers that hang hold nothing up until they are
        expelled; an idle worker has nothing better to do.
        """
        late = sorted((at, piece) for piece, at in self._late_at().items() if at <= now)
        pairs = list(zip(idle, late, strict=False))
        self.copies += len(pairs)
        return [self._give(worker, piece, now, copy=True) for worker, (_, piece) in pairs]

    def _give(self, worker: str, piece: Range, now: float, copy: bool) -> Assign:
        self.assigned[worker] = Assignment(self.round, self.kind, piece, now, copy)
        return Assign(worker, piece)

    def _idle(self) -> list[str]:
        return [worker for worker, held in self.assigned.items() if held is None]

    def _computing(self, piece: Range) -> list[Assignment]:
        """The assignments by which this range of the round is being computed."""
        return [
            held
            for held in self.assigned.values()
            if held is not None and held.wanted and held.range == piece
        ]

    def _late_at(self) -> dict[Range, float]:
        """When each range that is being computed is late."""
        times: dict[Range, float] = {}
        for held in self.assigned.values():
            if held is not None and held.wanted:
                at = held.given + self._times.late_after(held.kind, len(held.range))
                times[held.range] = max(at, times.get(held.range, -math.inf))
        return times

    def _silent_at(self, held: Assignment) -> float:
        """When the worker that has this assignment is silent."""
        return held.given + self._times.silent_after(held.kind, len(held.range))


def _split(ranges: list[Range], parts: int) -> list[Range]:
    """Cut the longest ranges in two until there is one for each part, or only single units.

    One range is cut into ``parts`` pieces whose lengths differ by at most one.
    """
    if len(ranges) == 1:
        begin, end = ranges[0].begin, ranges[0].end
        parts = min(parts, len(ranges[0]))
        cuts = [begin + (end - begin) * i // parts for i in range(parts + 1)]
        return [Range(a, b) for a, b in pairwise(cuts)]
    pieces = list(ranges)
    while len(pieces) < parts:
        longest = max(pieces, key=len)
        if len(longest) == 1:
            break
        middle = (longest.begin + longest.end) // 2
        at = pieces.index(longest)
        pieces[at : at + 1] = [Range(longest.begin, middle), Range(middle, longest.end)]
    return pieces
