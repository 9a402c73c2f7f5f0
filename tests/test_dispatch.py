"""Dispatch: events in, instructions out; whatever happens, a round is complete exactly once."""

from __future__ import annotations

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

from trainer.server.dispatch import (
    Accept,
    Answered,
    Assign,
    Dispatch,
    Event,
    Instruction,
    Range,
    RoundBegan,
    RoundComplete,
    WorkerJoined,
    WorkerLost,
)


def after(*events: Event) -> Dispatch:
    """The state that these events lead to."""
    dispatch = Dispatch()
    for event in events:
        dispatch.handle(event)
    return dispatch


def answered(worker: str, begin: int, end: int, round: int = 1) -> Answered:
    return Answered(worker, round, Range(begin, end))


A, B, C = WorkerJoined("a"), WorkerJoined("b"), WorkerJoined("c")
ROUND = RoundBegan(1, 8)

# What happened before, what happens now, and everything that is to be done.
EXACT: dict[str, tuple[list[Event], Event, list[Instruction]]] = {
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
        RoundBegan(1, 2),
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
        [A, B, C, RoundBegan(1, 9), answered("b", 3, 6), answered("c", 6, 9)],
        WorkerLost("a"),
        [Assign("b", Range(0, 1)), Assign("c", Range(1, 3))],
    ),
    "ranges of two lost workers go out one by one": (
        [A, B, C, RoundBegan(1, 9), WorkerLost("a"), WorkerLost("c")],
        answered("b", 3, 6),
        [Accept(), Assign("b", Range(0, 3))],
    ),
    "what is not given out keeps waiting": (
        [
            *(A, B, C, RoundBegan(1, 9), WorkerLost("a"), WorkerLost("c")),
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
        [A, ROUND, answered("a", 0, 8), RoundBegan(2, 8)],
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
        [A, B, RoundBegan(1, 2), answered("a", 0, 1), answered("b", 1, 2), WorkerLost("a")],
        RoundBegan(2, 6),
        [Assign("b", Range(0, 6))],
    ),
}


@pytest.mark.parametrize(("before", "event", "instructions"), EXACT.values(), ids=list(EXACT))
def test_exact_instructions(
    before: list[Event], event: Event, instructions: list[Instruction]
) -> None:
    assert after(*before).handle(event) == instructions


def test_a_round_does_not_begin_before_the_last_is_complete() -> None:
    with pytest.raises(AssertionError):
        after(A, ROUND).handle(RoundBegan(2, 8))


@pytest.mark.parametrize("workers", range(1, 12))
@pytest.mark.parametrize("units", range(1, 12))
def test_a_round_is_spread_evenly(workers: int, units: int) -> None:
    dispatch = after(*(WorkerJoined(f"w{i}") for i in range(workers)))
    given = [step.range for step in dispatch.handle(RoundBegan(1, units)) if type(step) is Assign]
    lengths = [piece.end - piece.begin for piece in given]
    assert len(given) == min(workers, units)
    assert sum(lengths) == units
    assert max(lengths) - min(lengths) <= 1


names = st.sampled_from("abcdef")
unit_numbers = st.integers(0, 13)


class AnyCourseOfEvents(RuleBasedStateMachine):
    """Workers come, go and answer as they like; a second bookkeeping checks the first.

    Attributes:
        holding: who computes what, from the instructions alone.
        accepted: units of the round whose answer was accepted.
        sent: every assignment there ever was, with its round; its answer may come at any time.
    """

    machine: ClassVar[type[Dispatch]] = Dispatch

    def __init__(self) -> None:
        super().__init__()
        self.dispatch = self.machine()
        self.holding: dict[str, Range | None] = {}
        self.accepted: set[int] = set()
        self.units = 0
        self.round = 0
        self.sent: list[Answered] = []

    @property
    def complete(self) -> bool:
        return len(self.accepted) == self.units

    def handle(self, event: Event) -> list[Instruction]:
        was_complete = self.complete
        instructions = self.dispatch.handle(event)
        for instruction in instructions:
            match instruction:
                case Assign(worker, piece):
                    assert self.holding[worker] is None, "a busy worker got a second range"
                    self.holding[worker] = piece
                    self.sent.append(Answered(worker, self.round, piece))
                case Accept():
                    assert isinstance(event, Answered)
                    units = set(range(event.range.begin, event.range.end))
                    assert not units & self.accepted, "a unit was accepted twice"
                    self.accepted |= units
                    self.holding[event.worker] = None
                case RoundComplete():
                    assert self.complete
                    assert not was_complete
        completed = RoundComplete() in instructions
        assert completed == (isinstance(event, Answered) and self.complete and not was_complete)
        return instructions

    @initialize(workers=st.sets(names))
    def join_first(self, workers: set[str]) -> None:
        for worker in sorted(workers):
            self.join(worker)

    @precondition(lambda self: self.complete)
    @rule(units=st.integers(1, 12))
    def begin_round(self, units: int) -> None:
        self.round, self.units, self.accepted = self.round + 1, units, set()
        self.handle(RoundBegan(self.round, units))

    @rule(worker=names)
    def join(self, worker: str) -> None:
        self.holding[worker] = None
        self.handle(WorkerJoined(worker))

    @precondition(lambda self: self.holding)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.holding)))
        del self.holding[worker]
        self.handle(WorkerLost(worker))

    @precondition(lambda self: any(self.holding.values()))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        busy = sorted((worker, held) for worker, held in self.holding.items() if held is not None)
        worker, held = data.draw(st.sampled_from(busy))
        assert Accept() in self.handle(Answered(worker, self.round, held))

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
        due = age == 0 and self.holding.get(worker) == answer.range
        assert (Accept() in self.handle(answer)) == due

    @invariant()
    def both_bookkeepings_agree(self) -> None:
        assert self.dispatch.assigned == self.holding
        assert self.dispatch.missing == self.units - len(self.accepted)
        assert self.dispatch.round == self.round

    @invariant()
    def every_unit_is_in_one_place(self) -> None:
        held = [piece for piece in self.holding.values() if piece is not None]
        ranges = [*held, *self.dispatch.waiting]
        assert all(piece.begin < piece.end for piece in ranges)
        units = [unit for piece in ranges for unit in range(piece.begin, piece.end)]
        assert sorted([*units, *self.accepted]) == list(range(self.units))

    @invariant()
    def nobody_is_idle_while_ranges_wait(self) -> None:
        assert not self.dispatch.waiting or None not in self.holding.values()

    def teardown(self) -> None:
        """From any state, one living worker and all answers are enough."""
        if not self.complete and not self.holding:
            self.join("a")
        for _ in range(self.units):
            if self.complete:
                return
            busy = [(worker, held) for worker, held in self.holding.items() if held is not None]
            assert busy, "nobody computes what is missing"
            self.handle(Answered(busy[0][0], self.round, busy[0][1]))
        assert self.complete


def test_no_course_of_events_breaks_a_round() -> None:
    run_state_machine_as_test(AnyCourseOfEvents, settings=settings(max_examples=150, deadline=None))


class TakesAnyAnswer(Dispatch):
    """A wrong dispatch: an answer counts whoever it is from, and however often."""

    def handle(self, event: Event) -> list[Instruction]:
        if isinstance(event, Answered) and event.worker in self.assigned and self.missing:
            self.assigned[event.worker] = event.range
            self.round = event.round
        return super().handle(event)


class ForgetsTheLost(Dispatch):
    """A wrong dispatch: what a lost worker was computing is computed by nobody."""

    def _release(self, worker: str) -> None:
        pass


class LeavesIdle(Dispatch):
    """A wrong dispatch: what waits goes out only when a worker joins or a round begins."""

    def handle(self, event: Event) -> list[Instruction]:
        instructions = super().handle(event)
        if isinstance(event, WorkerLost):
            for step in instructions:
                assert isinstance(step, Assign)
                self.assigned[step.worker] = None
                self.waiting.append(step.range)
            return []
        return instructions


@pytest.mark.parametrize("wrong", [TakesAnyAnswer, ForgetsTheLost, LeavesIdle])
def test_the_course_of_events_finds_a_wrong_dispatch(wrong: type[Dispatch]) -> None:
    class Wrong(AnyCourseOfEvents):
        machine = wrong

    quick = settings(
        max_examples=150,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Wrong, settings=quick)
