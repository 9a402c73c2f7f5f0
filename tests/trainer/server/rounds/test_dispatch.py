"""Dispatch: events in, instructions out; whatever happens, a round is complete exactly once."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import median
from typing import ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sumgrad.trainer.server.rounds.deadlines import Deadlines
from sumgrad.trainer.server.rounds.dispatch import (
    Accept,
    Answered,
    Assign,
    Assignment,
    Dispatch,
    Event,
    Expel,
    Instruction,
    Range,
    Release,
    RoundBegan,
    RoundComplete,
    Tick,
    WorkerJoined,
    WorkerLost,
    WorkerRetired,
)

Course = list[Event | float]
"""What happens: each event at the time that stands before it, or at that of the one before."""


def after(*course: Event | float, deadlines: Deadlines | None = None) -> Dispatch:
    """The state that a course leads to."""
    dispatch, now = Dispatch(deadlines or Deadlines()), 0.0
    for what in course:
        if isinstance(what, float):
            now = what
        else:
            dispatch.handle(what, now)
    return dispatch


def answered(worker: str, begin: int, end: int, round: int = 1) -> Answered:
    return Answered(worker, round, Range(begin, end))


def began(round: int, units: int, kind: str = "gradient") -> RoundBegan:
    return RoundBegan(round, units, kind)


A, B, C, D = (WorkerJoined(name) for name in "abcd")
ROUND = began(1, 8)

HALF_LATE: Course = [A, B, ROUND, 0.1, answered("b", 4, 8)]
"""b has answered its half, at 0.025 s a unit; so a's is late after the floor of 1 s, and a is
silent after the 15 s."""

COPIED: Course = [*HALF_LATE, 1.0, Tick()]
"""And b has a copy of a's half since second 1."""

MEASURED: Course = [
    *(A, began(1, 8), 0.1, answered("a", 0, 8), began(2, 8), 0.2, answered("a", 0, 8, 2)),
    *(began(3, 8), 0.3, answered("a", 0, 8, 3)),
]
"""a has answered three rounds quickly."""

STALE: Course = [*COPIED, 2.0, answered("b", 0, 4), began(2, 8)]
"""And has answered it; in round 2 a still computes for round 1."""

# What happened before, what happens now, and everything that is to be done.
EXACT: dict[str, tuple[Course, Event, list[Instruction]]] = {
    "a worker that joins before the first round waits": ([], A, []),
    "a round without workers waits": ([], ROUND, []),
    "the first worker gets the whole round": ([ROUND], A, [Assign("a", Range(0, 8))]),
    "one worker gets the whole round": ([A], ROUND, [Assign("a", Range(0, 8))]),
    "two workers get halves": (
        [A, B],
        ROUND,
        [Assign("a", Range(0, 4)), Assign("b", Range(4, 8))],
    ),
    "three workers get parts that differ by one unit at most": (
        [A, B, C],
        ROUND,
        [Assign("a", Range(0, 2)), Assign("b", Range(2, 5)), Assign("c", Range(5, 8))],
    ),
    "more workers than units leave some idle": (
        [A, B, C],
        began(1, 2),
        [Assign("a", Range(0, 1)), Assign("b", Range(1, 2))],
    ),
    "a worker that joins when all is given out waits": ([A, ROUND], B, []),
    "the only answer completes the round": (
        [A, ROUND],
        answered("a", 0, 8),
        [Accept(), RoundComplete()],
    ),
    "an answer before the last is accepted": ([A, B, ROUND], answered("b", 4, 8), [Accept()]),
    "the last answer completes the round": (
        [A, B, ROUND, answered("b", 4, 8)],
        answered("a", 0, 4),
        [Accept(), RoundComplete()],
    ),
    "a lost worker's range waits when all others are busy": (
        [A, B, ROUND],
        WorkerLost("a"),
        [],
    ),
    "who answers takes over a lost worker's range": (
        [A, B, ROUND, WorkerLost("a")],
        answered("b", 4, 8),
        [Accept(), Assign("b", Range(0, 4))],
    ),
    "an idle worker takes over a lost worker's range at once": (
        [A, B, ROUND, answered("b", 4, 8)],
        WorkerLost("a"),
        [Assign("b", Range(0, 4))],
    ),
    "several idle workers share a lost worker's range": (
        [A, B, C, began(1, 9), answered("b", 3, 6), answered("c", 6, 9)],
        WorkerLost("a"),
        [Assign("b", Range(0, 1)), Assign("c", Range(1, 3))],
    ),
    "ranges of two lost workers go out one by one": (
        [A, B, C, began(1, 9), WorkerLost("a"), WorkerLost("c")],
        answered("b", 3, 6),
        [Accept(), Assign("b", Range(0, 3))],
    ),
    "what is not given out keeps waiting": (
        [
            *(A, B, C, began(1, 9), WorkerLost("a"), WorkerLost("c")),
            answered("b", 3, 6),
        ],
        answered("b", 0, 3),
        [Accept(), Assign("b", Range(6, 9))],
    ),
    "a replacement gets what waits": (
        [A, B, ROUND, WorkerLost("b")],
        WorkerJoined("d"),
        [Assign("d", Range(4, 8))],
    ),
    "the last worker's range waits for a new one": (
        [A, ROUND, WorkerLost("a")],
        B,
        [Assign("b", Range(0, 8))],
    ),
    "a worker that joins again is given its range again": (
        [A, B, ROUND],
        WorkerJoined("a"),
        [Assign("a", Range(0, 4))],
    ),
    "the loss of an idle worker changes nothing": ([A, ROUND, B], WorkerLost("b"), []),
    "the loss of a stranger changes nothing": ([A, ROUND], WorkerLost("z"), []),
    "a worker that is lost twice is lost once": (
        [A, B, ROUND, WorkerLost("a")],
        WorkerLost("a"),
        [],
    ),
    "a duplicate answer is dropped": (
        [A, B, ROUND, answered("b", 4, 8)],
        answered("b", 4, 8),
        [],
    ),
    "an answer of a lost worker is dropped": (
        [A, B, ROUND, WorkerLost("a")],
        answered("a", 0, 4),
        [],
    ),
    "a lost worker's answer is dropped when another has its range": (
        [A, B, ROUND, answered("b", 4, 8), WorkerLost("a")],
        answered("a", 0, 4),
        [],
    ),
    "an answer for another worker's range is dropped": (
        [A, B, ROUND],
        answered("a", 4, 8),
        [],
    ),
    "an answer for a part of the range is dropped": ([A, B, ROUND], answered("a", 0, 3), []),
    "an answer of another round is dropped": (
        [A, ROUND, answered("a", 0, 8), began(2, 8)],
        answered("a", 0, 8, round=1),
        [],
    ),
    "an answer of a stranger is dropped": ([A, ROUND], answered("z", 0, 8), []),
    "an answer before the first round is dropped": ([A], answered("a", 0, 0, round=0), []),
    "an answer after the round is dropped": (
        [A, ROUND, answered("a", 0, 8)],
        answered("a", 0, 8),
        [],
    ),
    "a new round goes to those who are left": (
        [A, B, began(1, 2), answered("a", 0, 1), answered("b", 1, 2), WorkerLost("a")],
        began(2, 6),
        [Assign("b", Range(0, 6))],
    ),
    # Late ranges.
    "a range that is not late is given to nobody else": (
        [*HALF_LATE, 0.999],
        Tick(),
        [],
    ),
    "a late range is given to an idle worker too": (
        [*HALF_LATE, 1.0],
        Tick(),
        [Assign("b", Range(0, 4))],
    ),
    "while nothing has been measured a range is late after 30 s": (
        [A, ROUND, B, 30.0],
        Tick(),
        [Assign("b", Range(0, 8))],
    ),
    "while nothing has been measured a range is not late before 30 s": (
        [A, ROUND, B, 29.9],
        Tick(),
        [],
    ),
    "a range is late after four times what its units usually take": (
        [A, B, ROUND, 4.0, answered("b", 4, 8), 16.0],
        Tick(),
        [Assign("b", Range(0, 4))],
    ),
    "a range is not late before four times what its units usually take": (
        [A, B, ROUND, 4.0, answered("b", 4, 8), 15.9],
        Tick(),
        [],
    ),
    "a kind of round that was not measured has its own time": (
        [*MEASURED, B, began(4, 1, "evaluation"), 30.3],
        Tick(),
        [Assign("b", Range(0, 1))],
    ),
    "another kind's measured time does not count": (
        [*MEASURED, B, began(4, 1, "evaluation"), 30.2],
        Tick(),
        [],
    ),
    "one slow answer does not change the usual time": (
        [*MEASURED, began(4, 8), 900.0, answered("a", 0, 8, 4), B, began(5, 8), 901.0],
        answered("b", 4, 8, 5),
        [Accept(), Assign("b", Range(0, 4))],
    ),
    "a late range waits for a worker while all are busy": (
        [A, B, ROUND, 30.0],
        Tick(),
        [],
    ),
    "who answers gets a late range at once": (
        [*MEASURED, B, began(4, 8), 1.3],
        answered("b", 4, 8, 4),
        [Accept(), Assign("b", Range(0, 4))],
    ),
    "two late ranges go to two idle workers, one each": (
        [
            *(A, B, C, D, ROUND, 0.1, answered("c", 4, 6), answered("d", 6, 8)),
            1.0,
        ],
        Tick(),
        [Assign("c", Range(0, 2)), Assign("d", Range(2, 4))],
    ),
    "the range that was late first goes first": (
        [*MEASURED, B, began(4, 8), 1.0, WorkerLost("a"), C, 5.0],
        D,
        [Assign("d", Range(4, 8))],
    ),
    "what waits goes before what is late": (
        [*MEASURED, B, began(4, 8), WorkerLost("b"), 5.0],
        C,
        [Assign("c", Range(4, 8))],
    ),
    "the first answer counts if it is the copy's": (
        COPIED,
        answered("b", 0, 4),
        [Accept(), RoundComplete()],
    ),
    "the first answer counts if it is the late one": (
        COPIED,
        answered("a", 0, 4),
        [Accept(), RoundComplete()],
    ),
    "the second answer in the same round is dropped": (
        [A, B, C, began(1, 3), 0.1, answered("b", 1, 2), 1.1, Tick(), answered("b", 0, 1)],
        answered("a", 0, 1),
        [],
    ),
    "a third worker does not join in before the copy is late": (
        [*COPIED, C, 1.9],
        Tick(),
        [],
    ),
    "a third worker joins in when the copy is late": (
        [*COPIED, C, 2.0],
        Tick(),
        [Assign("c", Range(0, 4))],
    ),
    "nothing waits when the late one is lost and its copy is out": (
        [*COPIED, WorkerLost("a")],
        C,
        [],
    ),
    "the late range is given to another when the copy's worker is lost": (
        [*COPIED, WorkerLost("b")],
        C,
        [Assign("c", Range(0, 4))],
    ),
    "the range waits once when both are lost": (
        [*COPIED, WorkerLost("a"), WorkerLost("b"), C],
        D,
        [],
    ),
    "the range goes to the next when both are lost": (
        [*COPIED, WorkerLost("a"), WorkerLost("b")],
        C,
        [Assign("c", Range(0, 4))],
    ),
    # Answers of rounds that are over.
    "a new round goes to those who do not compute for an older one": (
        [*COPIED, 2.0, answered("b", 0, 4)],
        began(2, 8),
        [Assign("b", Range(0, 8))],
    ),
    "a stale answer is dropped": (STALE, answered("a", 0, 4), []),
    "who gave a stale answer gets what waits": (
        [*STALE, WorkerLost("b")],
        answered("a", 0, 4),
        [Assign("a", Range(0, 8))],
    ),
    "who gave a stale answer gets a late range": (
        [*STALE, 7.0],
        answered("a", 0, 4),
        [Assign("a", Range(0, 8))],
    ),
    "who gave a stale answer takes part in the next round": (
        [*STALE, answered("a", 0, 4), answered("b", 0, 8, 2)],
        began(3, 8),
        [Assign("a", Range(0, 4)), Assign("b", Range(4, 8))],
    ),
    "nobody takes over what was computed for an older round": (
        [*STALE, answered("b", 0, 8, 2), WorkerLost("a"), C],
        D,
        [],
    ),
    # Silence.
    "a worker that is silent is expelled": (
        [*COPIED, 15.0],
        Tick(),
        [Expel("a", 15.0)],
    ),
    "a worker that is not yet silent stays": (
        [*COPIED, 14.9],
        Tick(),
        [],
    ),
    "a silent worker's range goes to another at once": (
        [A, ROUND, B, 300.0],
        Tick(),
        [Expel("a", 300.0), Assign("b", Range(0, 8))],
    ),
    "a worker that computes for an older round is expelled too": (
        [*STALE, 3.0, answered("b", 0, 8, 2), 20.0],
        Tick(),
        [Expel("a", 20.0)],
    ),
    "an answer of an expelled worker is dropped": (
        [A, ROUND, 300.0, Tick()],
        answered("a", 0, 8),
        [],
    ),
    "an expelled worker's name is free for a new life": (
        [A, ROUND, 300.0, Tick()],
        A,
        [Assign("a", Range(0, 8))],
    ),
    "an expelled worker is lost once": ([A, ROUND, 300.0, Tick()], WorkerLost("a"), []),
    # Scaling down.
    "an idle worker that retires is let go at once": ([A], WorkerRetired("a"), [Release("a")]),
    "a busy worker that retires is let go when it answers": (
        [A, B, ROUND, WorkerRetired("a")],
        answered("a", 0, 4),
        [Accept(), Release("a")],
    ),
    "a busy worker that retires goes on": ([A, B, ROUND], WorkerRetired("a"), []),
    "a retired worker that gives the last answer completes the round": (
        [A, ROUND, WorkerRetired("a")],
        answered("a", 0, 8),
        [Accept(), RoundComplete(), Release("a")],
    ),
    "a retired worker that gives a stale answer is let go": (
        [*STALE, WorkerRetired("a")],
        answered("a", 0, 4),
        [Release("a")],
    ),
    "a retired worker gets nothing that waits": (
        [A, B, ROUND, WorkerRetired("a"), WorkerLost("b")],
        answered("a", 0, 4),
        [Accept(), Release("a")],
    ),
    "a retired worker's late range is copied": (
        [*HALF_LATE, WorkerRetired("a"), 1.0],
        Tick(),
        [Assign("b", Range(0, 4))],
    ),
    "what a retired worker leaves when it dies waits": (
        [A, ROUND, WorkerRetired("a"), WorkerLost("a")],
        B,
        [Assign("b", Range(0, 8))],
    ),
    "a retired worker's name is free for a new life": (
        [A, ROUND, WorkerRetired("a")],
        A,
        [Assign("a", Range(0, 8))],
    ),
    "the retirement of a stranger changes nothing": ([A, ROUND], WorkerRetired("z"), []),
    "a worker that was retired before it joined is let go at once": (
        [A, ROUND, WorkerRetired("b")],
        B,
        [Release("b")],
    ),
    "what waits is not for a worker that was retired before it joined": (
        [ROUND, WorkerRetired("a")],
        A,
        [Release("a")],
    ),
    "a worker that was retired before it joined and is lost has a name free for a new life": (
        [ROUND, WorkerRetired("a"), WorkerLost("a")],
        A,
        [Assign("a", Range(0, 8))],
    ),
}


@pytest.mark.parametrize(("before", "event", "instructions"), EXACT.values(), ids=list(EXACT))
def test_exact_instructions(before: Course, event: Event, instructions: list[Instruction]) -> None:
    now = [0.0, *(what for what in before if isinstance(what, float))][-1]
    assert after(*before).handle(event, now) == instructions


# A course, and when the next tick has something to do.
DEADLINES: dict[str, tuple[Course, float | None]] = {
    "never while nobody computes": ([A, B], None),
    "when a lone worker is silent": ([A, ROUND], 300.0),
    "when a range is late that an idle worker can take": ([A, ROUND, B], 30.0),
    "sooner once times are measured": (HALF_LATE, 1.0),
    "when a worker is silent while all are busy": (COPIED, 15.0),
    "when a copy is late that a third worker can take": ([*COPIED, C], 2.0),
    "when a worker is silent that computes for an older round": (
        [*COPIED, answered("b", 0, 4), WorkerLost("b")],
        15.0,
    ),
}


@pytest.mark.parametrize(("course", "deadline"), DEADLINES.values(), ids=list(DEADLINES))
def test_the_deadline_is(course: Course, deadline: float | None) -> None:
    assert after(*course).deadline() == deadline


@pytest.mark.parametrize(
    ("course", "deadline"),
    [
        ([A, ROUND, B], 9.0),
        (HALF_LATE, 0.5),
        ([A, B, ROUND, 2.0, answered("b", 4, 8)], 3 * 2.0),
        ([*HALF_LATE, WorkerLost("b")], 7.0),
        ([A, B, ROUND, 2.0, answered("b", 4, 8), WorkerLost("b")], 5 * 3 * 2.0),
    ],
)
def test_the_deadline_follows_the_bounds_that_are_given(course: Course, deadline: float) -> None:
    bounds = Deadlines(
        factor=3.0, floor_seconds=0.5, first_seconds=9.0, silence_factor=5.0, silence_seconds=7.0
    )
    assert after(*course, deadlines=bounds).deadline() == deadline


def counters(dispatch: Dispatch) -> tuple[int, int, int, int]:
    return dispatch.stale_answers, dispatch.copies, dispatch.dropped_copies, dispatch.expelled


@pytest.mark.parametrize(
    ("course", "counted"),
    [
        (HALF_LATE, (0, 0, 0, 0)),
        ([*HALF_LATE, answered("b", 4, 8), answered("z", 0, 4)], (2, 0, 0, 0)),
        (COPIED, (0, 1, 0, 0)),
        ([*COPIED, answered("b", 0, 4), answered("a", 0, 4)], (1, 1, 0, 0)),
        ([*COPIED, answered("a", 0, 4), answered("b", 0, 4)], (0, 1, 1, 0)),
        ([*COPIED, 15.0, Tick(), answered("a", 0, 4)], (1, 1, 0, 1)),
        ([*COPIED, WorkerLost("a")], (0, 1, 0, 0)),
    ],
)
def test_counters_tell_stale_answers_copies_copies_in_vain_and_expelled_workers(
    course: Course, counted: tuple[int, int, int, int]
) -> None:
    assert counters(after(*course)) == counted


def test_a_round_does_not_begin_before_the_last_is_complete() -> None:
    with pytest.raises(AssertionError):
        after(A, ROUND, began(2, 8))


@pytest.mark.parametrize("workers", range(1, 12))
@pytest.mark.parametrize("units", range(1, 12))
def test_a_round_is_spread_evenly(workers: int, units: int) -> None:
    dispatch = after(*(WorkerJoined(f"w{i}") for i in range(workers)))
    steps = dispatch.handle(began(1, units), 0.0)
    given = [step.range for step in steps if type(step) is Assign]
    lengths = [piece.end - piece.begin for piece in given]
    assert len(given) == min(workers, units)
    assert sum(lengths) == units
    assert max(lengths) - min(lengths) <= 1


names = st.sampled_from("abcdef")
unit_numbers = st.integers(0, 13)
BOUNDS = Deadlines()


@dataclass(frozen=True)
class Held:
    """What a worker computes: for which round, which range, since when."""

    round: int
    kind: str
    range: Range
    since: float


class AnyCourseOfEvents(RuleBasedStateMachine):
    """Workers come, go, hang and answer as they like; a second bookkeeping checks the first.

    Attributes:
        holding: who computes what, from the instructions alone.
        accepted: units of the round whose answer was accepted.
        retired: workers that are to go, also some that have not joined.
        took: seconds a unit of the accepted answers, by kind of round.
        sent: every assignment there ever was, with its round; its answer may come at any time.
    """

    machine: ClassVar[type[Dispatch]] = Dispatch

    def __init__(self) -> None:
        super().__init__()
        self.dispatch = self.machine()
        self.holding: dict[str, Held | None] = {}
        self.accepted: set[int] = set()
        self.retired: set[str] = set()
        self.took: dict[str, list[float]] = defaultdict(list)
        self.units = 0
        self.round = 0
        self.kind = ""
        self.now = 0.0
        self.sent: list[Answered] = []
        self.expelled = 0
        self.copies = 0
        self.dropped = 0

    @property
    def complete(self) -> bool:
        return len(self.accepted) == self.units

    def is_wanted(self, held: Held | None) -> bool:
        """It belongs to the round, and no unit of it has an accepted answer."""
        return (
            held is not None
            and held.round == self.round
            and not self.accepted & set(range(held.range.begin, held.range.end))
        )

    def wanted(self) -> dict[Range, list[Held]]:
        """Every range of the round that is being computed, and by which assignments."""
        found = defaultdict(list)
        for held in self.holding.values():
            if held is not None and self.is_wanted(held):
                found[held.range].append(held)
        return found

    def late_at(self, held: Held) -> float:
        return held.since + self.bound(held)

    def bound(self, held: Held) -> float:
        recent = self.took[held.kind][-15:]
        if not recent:
            return BOUNDS.first_seconds
        units = held.range.end - held.range.begin
        return max(BOUNDS.floor_seconds, BOUNDS.factor * median(recent) * units)

    def silent_at(self, held: Held) -> float:
        return held.since + max(BOUNDS.silence_seconds, BOUNDS.silence_factor * self.bound(held))

    def handle(self, event: Event) -> list[Instruction]:
        was_complete = self.complete
        instructions = self.dispatch.handle(event, self.now)
        if isinstance(event, Answered) and Accept() not in instructions:
            self.dropped += 1
        for instruction in instructions:
            match instruction:
                case Assign(worker, piece):
                    self.check_assignment(worker, piece)
                    self.holding[worker] = Held(self.round, self.kind, piece, self.now)
                    self.sent.append(Answered(worker, self.round, piece))
                case Accept():
                    assert isinstance(event, Answered)
                    self.accept(event)
                case RoundComplete():
                    assert self.complete
                    assert not was_complete
                case Expel(worker, seconds):
                    held = self.holding.pop(worker)
                    self.retired.discard(worker)
                    self.expelled += 1
                    assert held is not None
                    assert seconds == self.now - held.since
                    assert self.silent_at(held) <= self.now
                case Release(worker):
                    assert self.holding.pop(worker) is None
                    self.retired.remove(worker)
        completed = RoundComplete() in instructions
        assert completed == (isinstance(event, Answered) and self.complete and not was_complete)
        return instructions

    def check_assignment(self, worker: str, piece: Range) -> None:
        assert self.holding[worker] is None, "a busy worker got a second range"
        assert worker not in self.retired
        units = set(range(piece.begin, piece.end))
        assert units
        assert not units & self.accepted, "a range was given out that is answered"
        for other, helds in self.wanted().items():
            if units & set(range(other.begin, other.end)):
                assert other == piece, "a copy is not of the whole range"
                assert all(self.late_at(held) <= self.now for held in helds)
                self.copies += 1

    def accept(self, answer: Answered) -> None:
        units = set(range(answer.range.begin, answer.range.end))
        held = self.holding[answer.worker]
        assert held is not None
        assert not units & self.accepted, "a unit was accepted twice"
        self.accepted |= units
        self.took[held.kind].append((self.now - held.since) / len(units))
        self.holding[answer.worker] = None

    @initialize(workers=st.sets(names))
    def join_first(self, workers: set[str]) -> None:
        for worker in sorted(workers):
            self.join(worker)

    @precondition(lambda self: self.complete)
    @rule(units=st.integers(1, 12), kind=st.sampled_from(["gradient", "evaluation"]))
    def begin_round(self, units: int, kind: str) -> None:
        self.round, self.units, self.kind = self.round + 1, units, kind
        self.accepted = set()
        self.handle(RoundBegan(self.round, units, kind))

    @rule(worker=names)
    def join(self, worker: str) -> None:
        if worker in self.holding:
            self.retired.discard(worker)  # the one of before is gone, and this is another one
        retired = worker in self.retired
        self.holding[worker] = None
        assert (Release(worker) in self.handle(WorkerJoined(worker))) == retired

    @rule(worker=names)
    def lose(self, worker: str) -> None:
        self.holding.pop(worker, None)
        self.retired.discard(worker)
        self.handle(WorkerLost(worker))

    @rule(worker=names)
    def retire(self, worker: str) -> None:
        # One to come at a time: if nobody were left who works, nothing would be found out.
        if worker in self.holding or self.retired <= self.holding.keys():
            self.retired.add(worker)
            self.handle(WorkerRetired(worker))

    @rule(seconds=st.sampled_from([0.01, 0.3, 2.0, 9.0, 40.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def tick(self) -> None:
        due = self.dispatch.deadline()
        instructions = self.handle(Tick())
        assert bool(instructions) == (due is not None and due <= self.now)
        after_tick = self.dispatch.deadline()
        assert after_tick is None or after_tick > self.now

    @precondition(lambda self: self.dispatch.deadline() is not None)
    @rule()
    def tick_at_the_deadline(self) -> None:
        due = self.dispatch.deadline()
        assert due is not None
        self.now = max(self.now, due)
        self.tick()

    @precondition(lambda self: self.busy())
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        self.answer_of(data.draw(st.sampled_from(self.busy())))

    def busy(self) -> list[str]:
        return sorted(worker for worker, held in self.holding.items() if held is not None)

    def answer_of(self, worker: str) -> None:
        """A worker answers what it computes, whether or not anybody waits for it."""
        held = self.holding[worker]
        assert held is not None
        self.answer_anything(worker, held.range.begin, held.range.end, self.round - held.round)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), worker=st.none() | names)
    def answer_late_or_twice_or_in_another_name(
        self, data: st.DataObject, worker: str | None
    ) -> None:
        answer = data.draw(st.sampled_from(self.sent))
        self.answer_anything(
            worker or answer.worker,
            answer.range.begin,
            answer.range.end,
            self.round - answer.round,
        )

    @rule(worker=names, begin=unit_numbers, end=unit_numbers, age=st.integers(0, 2))
    def answer_anything(self, worker: str, begin: int, end: int, age: int) -> None:
        answer = Answered(worker, self.round - age, Range(begin, end))
        held = self.holding.get(worker)
        its_own = held is not None and (held.round, held.range) == (answer.round, answer.range)
        due = its_own and self.is_wanted(held)
        if its_own and not due:
            self.holding[worker] = None
        assert (Accept() in self.handle(answer)) == due

    @invariant()
    def both_bookkeepings_agree(self) -> None:
        dispatch = self.dispatch
        assert dispatch.assigned.keys() == self.holding.keys()
        for worker, assigned in dispatch.assigned.items():
            held = self.holding[worker]
            assert (assigned is None) == (held is None)
            if assigned is not None and held is not None:
                found = Held(assigned.round, assigned.kind, assigned.range, assigned.given)
                assert found == held
                assert assigned.wanted == self.is_wanted(held)
        assert dispatch.retiring == self.retired
        assert dispatch.missing == self.units - len(self.accepted)
        assert (dispatch.round, dispatch.kind) == (self.round, self.kind)
        assert (dispatch.copies, dispatch.expelled) == (self.copies, self.expelled)
        assert dispatch.stale_answers + dispatch.dropped_copies == self.dropped
        assert dispatch.dropped_copies <= dispatch.copies

    @invariant()
    def every_unit_is_accepted_or_waits_or_is_computed(self) -> None:
        ranges = [*self.wanted(), *self.dispatch.waiting]
        units = [unit for piece in ranges for unit in range(piece.begin, piece.end)]
        assert sorted([*units, *self.accepted]) == list(range(self.units))

    @invariant()
    def nobody_is_idle_while_ranges_wait(self) -> None:
        assert not self.dispatch.waiting or None not in self.holding.values()

    @invariant()
    def the_retired_are_busy_or_to_come(self) -> None:
        assert all(self.holding.get(worker, "to come") is not None for worker in self.retired)

    @invariant()
    def the_deadline_is_the_next_late_range_or_silent_worker(self) -> None:
        times = [self.silent_at(held) for held in self.holding.values() if held is not None]
        if None in self.holding.values():
            times += [max(map(self.late_at, helds)) for helds in self.wanted().values()]
        assert self.dispatch.deadline() == min(times, default=None)

    def teardown(self) -> None:
        """From any state, one worker that answers is enough, though all others hang for ever."""
        staying = sorted(self.holding.keys() - self.retired)
        if not staying:
            self.lose("a")  # if it was retired before it joined, this is another one
            self.join("a")
        good = (staying or ["a"])[0]
        # Each turn it answers, or a deadline passes; others can join in before it at each one.
        for _ in range(1000):
            if self.complete:
                return
            if self.holding[good] is None:
                assert self.dispatch.deadline() is not None, "nobody computes what is missing"
                self.tick_at_the_deadline()
            else:
                self.answer_of(good)
            self.both_bookkeepings_agree()
        raise AssertionError("the round does not end")


@pytest.mark.slow
def test_no_course_of_events_breaks_a_round() -> None:
    run_state_machine_as_test(AnyCourseOfEvents, settings=settings(max_examples=150, deadline=None))


class TakesAnyAnswer(Dispatch):
    """A wrong dispatch: an answer counts whoever it is from, and however often."""

    def handle(self, event: Event, now: float) -> list[Instruction]:
        held = self.assigned.get(event.worker) if isinstance(event, Answered) else None
        if isinstance(event, Answered) and held is not None:
            held.round, held.range, held.wanted = event.round, event.range, True
        return super().handle(event, now)


class TakesBothCopies(Dispatch):
    """A wrong dispatch: who computes a range that was answered is waited for."""

    def _computing(self, piece: Range) -> list[Assignment]:
        return []


class ForgetsTheLost(Dispatch):
    """A wrong dispatch: what a lost worker was computing is computed by nobody."""

    def _forget(self, worker: str) -> None:
        self.assigned.pop(worker, None)
        self.retiring.discard(worker)


class LeavesIdle(Dispatch):
    """A wrong dispatch: what a lost worker leaves waits for the next event."""

    lost = False

    def handle(self, event: Event, now: float) -> list[Instruction]:
        self.lost = isinstance(event, WorkerLost)
        return super().handle(event, now)

    def _give_out(self, now: float) -> list[Instruction]:
        return [] if self.lost else super()._give_out(now)


class CopiesNothing(Dispatch):
    """A wrong dispatch: a late range is nobody else's business."""

    def _copy(self, idle: list[str], now: float) -> list[Instruction]:
        return []


class ExpelsNobody(Dispatch):
    """A wrong dispatch: a worker may be silent for ever."""

    def _expel(self, now: float) -> list[Instruction]:
        return []


class ForgetsWhatIsUnderWay(Dispatch):
    """A wrong dispatch: with a new round everybody counts as idle."""

    def handle(self, event: Event, now: float) -> list[Instruction]:
        if isinstance(event, RoundBegan):
            self.assigned = dict.fromkeys(self.assigned)
        return super().handle(event, now)


class KeepsTheRetired(Dispatch):
    """A wrong dispatch: a retired worker works on."""

    def _release(self) -> list[Instruction]:
        return []


class ForgetsWhoIsToCome(Dispatch):
    """A wrong dispatch: a worker that was retired before it joined works."""

    def handle(self, event: Event, now: float) -> list[Instruction]:
        if isinstance(event, WorkerJoined):
            self.retiring.discard(event.worker)
        return super().handle(event, now)


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrong",
    [
        TakesAnyAnswer,
        TakesBothCopies,
        ForgetsTheLost,
        LeavesIdle,
        CopiesNothing,
        ExpelsNobody,
        ForgetsWhatIsUnderWay,
        KeepsTheRetired,
        ForgetsWhoIsToCome,
    ],
)
def test_the_course_of_events_finds_a_wrong_dispatch(wrong: type[Dispatch]) -> None:
    class Wrong(AnyCourseOfEvents):
        machine = wrong

    quick = settings(
        max_examples=400,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Wrong, settings=quick)
