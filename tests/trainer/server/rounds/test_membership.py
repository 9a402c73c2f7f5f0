"""Membership: who is admitted, refused or gone, event by event; and whatever happens, in order."""

from __future__ import annotations

from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sumgrad.trainer.server.rounds.gathering import JOIN_SECONDS, Gathering
from sumgrad.trainer.server.rounds.membership import (
    ANSWER_SECONDS,
    OVER,
    RUNNER,
    AdmissionFailed,
    Admit,
    Admitted,
    AnswerUsed,
    BreakOff,
    Cancel,
    CancelRequested,
    EndProcess,
    Enlist,
    Event,
    Fail,
    FingerprintPolicy,
    Forget,
    Instruction,
    JoinRequested,
    Membership,
    NothingExpected,
    PauseRequested,
    ReportJoined,
    ReportLeft,
    RoundEnded,
    RoundStarted,
    Spoke,
    Stop,
    Strike,
    Tick,
    Warn,
    WorkerExpelled,
    WorkerFailed,
    WorkerGone,
    WorkerReleased,
)
from sumgrad.workers.host.fingerprint import Fingerprint
from sumgrad.workers.v1 import work_pb2

Course = list[Event | float]
"""What happens: each event at the time that stands before it, or at that of the one before."""

DATA, OTHER_DATA = "d" * 64, "e" * 64
SAME = work_pb2.Join(data_digest=DATA, fingerprint="f", fingerprint_parts={"core": "Zen"})
STRANGE = work_pb2.Join(data_digest=DATA, fingerprint="g", fingerprint_parts={"core": "Elbrus"})
MISREAD = work_pb2.Join(data_digest=OTHER_DATA, fingerprint="f", fingerprint_parts={"core": "Zen"})


def after(course: Course, expected: int = 2, policy: FingerprintPolicy = "strict") -> Membership:
    """The state that a course leads to."""
    membership = Membership(expected, policy, Fingerprint("f", {"core": "Zen"}))
    now = 0.0
    for what in course:
        if isinstance(what, float):
            now = what
        else:
            membership.handle(what, now)
    return membership


def last_time(course: Course) -> float:
    return max((what for what in course if isinstance(what, float)), default=0.0)


def joined(worker: str, data_digest: str = DATA) -> Course:
    return [Spoke(worker), JoinRequested(worker, SAME), Admitted(worker, data_digest)]


def asks(worker: str, join: work_pb2.Join) -> Course:
    return [Spoke(worker), JoinRequested(worker, join)]


A, B = joined("a"), joined("b")
A_WORKS: Course = [*A, RoundStarted(), AnswerUsed("a")]
"""a is the only worker, in the middle of a round."""

EXPELLED = "a was expelled: it has not answered for 15 s"
OTHER_BITS = "a computes with other bits (core Elbrus instead of Zen)"
SILENCE = "no worker has answered for 600 s; see the run's logs"


def refused_bits(worker: str) -> str:
    return (
        f"{worker} computes with other bits (core Elbrus instead of Zen), so it was refused; use "
        'hosts of one kind, or allow other bits with workers.fingerprint = "any"'
    )


def refused_data(worker: str) -> str:
    return (
        f"{worker} has read other data (digest {OTHER_DATA[:16]}… instead of {DATA[:16]}…), so it "
        "was refused; have every host read the same files"
    )


# What happened before, what happens now, and everything that is to be done; two workers expected.
EXACT: dict[str, tuple[Course, Event, list[Instruction]]] = {
    # Who is admitted.
    "a word alone asks for nothing": ([], Spoke("a"), []),
    "a worker of the same bits is admitted": ([], JoinRequested("a", SAME), [Admit("a", SAME)]),
    "an admitted worker may compute": (asks("a", SAME), Admitted("a", DATA), [Enlist("a")]),
    "memory that cannot be shared fails the run": (
        asks("a", SAME),
        AdmissionFailed("a", "it is too small"),
        [Fail("a cannot share memory: it is too small")],
    ),
    "the first worker's data are the run's": ([], JoinRequested("a", MISREAD), [
        Admit("a", MISREAD)
    ]),
    "data of a worker that was not admitted count for nothing": (
        asks("a", MISREAD),
        JoinRequested("b", SAME),
        [Admit("b", SAME)],
    ),
    # Who is refused.
    "a worker with other data is refused": (
        A,
        JoinRequested("b", MISREAD),
        [Stop("b", refused_data("b")), Warn(refused_data("b"))],
    ),
    "a worker with other bits is refused": (
        [],
        JoinRequested("a", STRANGE),
        [Stop("a", refused_bits("a")), Warn(refused_bits("a"))],
    ),
    "with every slot refused and nobody at work the run has failed": (
        asks("a", STRANGE),
        JoinRequested("b", STRANGE),
        [Stop("b", refused_bits("b")), Fail(refused_bits("b"))],
    ),
    "a slot is refused once, however many of its workers are": (
        asks("a", STRANGE),
        JoinRequested("a.1", STRANGE),
        [Stop("a.1", refused_bits("a.1")), Warn(refused_bits("a.1"))],
    ),
    "a slot is not refused any more when its next worker is admitted": (
        [*asks("a", STRANGE), *joined("a.1"), WorkerGone("a.1", "")],
        JoinRequested("b", STRANGE),
        [Stop("b", refused_bits("b")), Warn(refused_bits("b"))],
    ),
    "as long as somebody works a refusal is a warning": (
        [*A, *asks("b", STRANGE)],
        JoinRequested("a.1", STRANGE),
        [Stop("a.1", refused_bits("a.1")), Warn(refused_bits("a.1"))],
    ),
    "slots beyond the expected ones must be refused too": (
        [*A, *asks("b", STRANGE), Spoke("c"), JoinRequested("c", SAME), WorkerGone("a", "")],
        JoinRequested("a.1", STRANGE),
        [Stop("a.1", refused_bits("a.1")), Warn(refused_bits("a.1"))],
    ),
    # Who contributes.
    "a worker has joined when its first answer is used": (
        A,
        AnswerUsed("a"),
        [ReportJoined("a")],
    ),
    "its other answers are nothing new": ([*A, AnswerUsed("a")], AnswerUsed("a"), []),
    "a worker that comes back joins again": (
        [*A, AnswerUsed("a"), *A],
        AnswerUsed("a"),
        [ReportJoined("a")],
    ),
    # Who is gone.
    "a worker that is gone is struck off and reported": (
        A_WORKS,
        WorkerGone("a", "it was killed"),
        [Strike("a"), ReportLeft("a", "it was killed"), Forget("a")],
    ),
    "a worker that has contributed nothing leaves too": (
        A,
        WorkerGone("a", "it was killed"),
        [Strike("a"), ReportLeft("a", "it was killed"), Forget("a")],
    ),
    "a worker that was not admitted leaves no trace": (
        asks("a", SAME),
        WorkerGone("a", "it was killed"),
        [Forget("a")],
    ),
    "a worker leaves once": (
        [*A, WorkerGone("a", "it was killed")],
        WorkerGone("a", "its process has died"),
        [Forget("a")],
    ),
    "a worker that fails is gone": (
        A_WORKS,
        WorkerFailed("a", "no room", permanent=False),
        [Strike("a"), ReportLeft("a", "a failed: no room"), Forget("a")],
    ),
    "a failure that every worker would have is the run's": (
        [*A, *B],
        WorkerFailed("a", "no data", permanent=True),
        [
            Strike("a"),
            ReportLeft("a", "a failed: no data"),
            Forget("a"),
            Fail("a failed: no data"),
        ],
    ),
    "even of a worker that was not admitted": (
        [Spoke("a")],
        WorkerFailed("a", "no data", permanent=True),
        [Forget("a"), Fail("a failed: no data")],
    ),
    "an expelled worker is told so and ended": (
        [*A, *B, RoundStarted()],
        WorkerExpelled("a", 15.2),
        [Stop("a"), Forget("a"), ReportLeft("a", EXPELLED), EndProcess("a", EXPELLED)],
    ),
    "a retired worker is told so": (
        [*A, *B],
        WorkerReleased("a"),
        [Stop("a"), Forget("a"), ReportLeft("a", "a was retired")],
    ),
    # When nobody is left.
    "a pause waits for the round that somebody works on": (A_WORKS, PauseRequested(), []),
    "a pause waits for a step between rounds": ([*A_WORKS, RoundEnded()], PauseRequested(), []),
    "a pause of a round that nobody works on breaks it off": (
        [*A_WORKS, WorkerGone("a", "")],
        PauseRequested(),
        [BreakOff()],
    ),
    "when the last worker is gone a pausing round is broken off": (
        [*A_WORKS, PauseRequested()],
        WorkerGone("a", "it was killed"),
        [Strike("a"), ReportLeft("a", "it was killed"), Forget("a"), BreakOff()],
    ),
    "between rounds there is none to break off": (
        [*A_WORKS, RoundEnded(), PauseRequested()],
        WorkerGone("a", "it was killed"),
        [Strike("a"), ReportLeft("a", "it was killed"), Forget("a")],
    ),
    "not when another one works": (
        [*A_WORKS, *B, PauseRequested()],
        WorkerGone("a", "it was killed"),
        [Strike("a"), ReportLeft("a", "it was killed"), Forget("a")],
    ),
    "when the last worker is expelled all is reported before": (
        [*A_WORKS, PauseRequested()],
        WorkerExpelled("a", 15.2),
        [
            Stop("a"),
            Forget("a"),
            ReportLeft("a", EXPELLED),
            EndProcess("a", EXPELLED),
            BreakOff(),
        ],
    ),
    "a pause comes before a failure": (
        [*A_WORKS, PauseRequested()],
        WorkerFailed("a", "no data", permanent=True),
        [Strike("a"), ReportLeft("a", "a failed: no data"), Forget("a"), BreakOff()],
    ),
    "without a pause the round waits for a replacement": (
        A_WORKS,
        WorkerGone("a", "it was killed"),
        [Strike("a"), ReportLeft("a", "it was killed"), Forget("a")],
    ),
    "a cancellation waits for nothing": (A_WORKS, CancelRequested(), [Cancel()]),
    # When everybody is silent.
    "a silence below the bound is nothing": ([*A_WORKS, 599.9], Tick(), []),
    "a silence of everybody fails the run": ([*A_WORKS, 600.0], Tick(), [Fail(SILENCE)]),
    "a word of any worker ends a silence": (
        [*A_WORKS, 10.0, Spoke("stranger"), 609.9],
        Tick(),
        [],
    ),
    "a word of the runner does not": ([*A_WORKS, 10.0, Spoke(RUNNER), 600.0], Tick(), [
        Fail(SILENCE)
    ]),
    "while nothing is expected silence is no fault": (
        [*A_WORKS, RoundEnded(), 500.0, NothingExpected(), 1000.0],
        Tick(),
        [],
    ),
    "silence counts from the beginning of a round": (
        [*A, 500.0, RoundStarted(), 1100.0],
        Tick(),
        [Fail(SILENCE)],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("course", "event", "instructions"), EXACT.values(), ids=EXACT)
def test_an_event_has_exactly_these_consequences(
    course: Course, event: Event, instructions: list[Instruction]
) -> None:
    assert after(course).handle(event, last_time(course)) == instructions


def test_other_bits_are_admitted_and_told_once_where_the_run_allows_them() -> None:
    membership = after([], policy="any")
    warning = Warn(f"{OTHER_BITS}; the result is not bitwise")
    request = JoinRequested("a", STRANGE)
    assert membership.handle(request, 0.0) == [warning, Admit("a", STRANGE)]
    assert membership.handle(request, 0.0) == [Admit("a", STRANGE)]
    assert membership.other_bits == {"a": OTHER_BITS}


def test_other_data_are_refused_where_the_run_allows_other_bits_too() -> None:
    instructions = after(A, policy="any").handle(JoinRequested("b", MISREAD), 0.0)
    assert instructions == [Stop("b", refused_data("b")), Warn(refused_data("b"))]


def test_the_end_is_told_to_everybody_who_has_come_and_is_not_gone() -> None:
    course: Course = [
        Spoke(RUNNER), *A, Spoke("unadmitted"), *asks("stranger", STRANGE), *B, WorkerGone("b", ""),
    ]  # fmt: skip
    assert after(course).stop_all() == [Stop("a"), Stop("unadmitted")]


# --- the beginning -----------------------------------------------------------------------------

LONGEST = ANSWER_SECONDS
Words = list[tuple[float, str]]

GATHERINGS: dict[str, tuple[Words, float | None]] = {
    "at first there is much time": ([], LONGEST),
    "the runner alone changes nothing": ([(1.0, RUNNER)], LONGEST),
    "after the first worker the others have little time": ([(5.0, "a")], 5.0 + JOIN_SECONDS),
    "the second of three gives no more time": ([(5.0, "a"), (9.0, "b")], 5.0 + JOIN_SECONDS),
    "a worker counts once": (
        [(1.0, RUNNER), (5.0, "a"), (6.0, "a"), (7.0, "a")],
        5.0 + JOIN_SECONDS,
    ),
    "workers alone are not enough": (
        [(1.0, "a"), (2.0, "b"), (3.0, "c")],
        1.0 + JOIN_SECONDS,
    ),
    "all are there": ([(1.0, "a"), (2.0, RUNNER), (3.0, "b"), (4.0, "c")], None),
    "the runner comes last": ([(1.0, "a"), (2.0, "b"), (3.0, "c"), (4.0, RUNNER)], None),
}


@pytest.mark.parametrize(("words", "until"), GATHERINGS.values(), ids=GATHERINGS)
def test_a_run_of_three_workers_begins(words: Words, until: float | None) -> None:
    gathering = Gathering(expected=3, began=0.0)
    for now, peer in words:
        gathering.spoke(peer, now)
    assert gathering.until == until


def test_a_run_that_is_to_stop_waits_for_nobody() -> None:
    gathering = Gathering(expected=3, began=0.0)
    gathering.spoke(RUNNER, 1.0, stops=True)
    assert gathering.until is None


# --- whatever happens --------------------------------------------------------------------------

NAMES = [f"{slot}{life}" for slot in "abc" for life in ("", ".1")]
JOINS = [SAME, STRANGE, MISREAD]


class AnyCourse(RuleBasedStateMachine):
    """A server that does what it is told, in a world where anything may happen next."""

    policy: ClassVar[FingerprintPolicy]

    @initialize(expected=st.integers(1, 3))
    def begin(self, expected: int) -> None:
        self.membership = after([], expected, self.policy)
        self.now = 0.0
        self.over: Instruction | None = None
        # As the world has it.
        self.computing: dict[str, work_pb2.Join] = {}
        self.in_record: set[str] = set()
        self.spoken: set[str] = set()
        self.asked_to_pause = self.in_round = False

    def happens(self, event: Event) -> list[Instruction]:
        before = set(self.computing)
        instructions = self.membership.handle(event, self.now)
        for place, instruction in enumerate(instructions, 1):
            match instruction:
                case Strike(worker):
                    del self.computing[worker]
                case ReportJoined(worker):
                    assert worker in self.computing
                    self.in_record.add(worker)
                case ReportLeft(worker):
                    assert worker in before, "it had not been there"
                    self.in_record.discard(worker)
                case Stop(worker):
                    self.spoken.discard(worker)
                case Fail() | BreakOff() | Cancel():
                    assert place == len(instructions), "something comes after the end"
                    self.over = instruction
        nobody = self.asked_to_pause and self.in_round and not self.computing
        assert (BreakOff() in instructions) <= nobody
        return instructions

    going_on = precondition(lambda self: self.over is None)

    @going_on
    @rule(seconds=st.sampled_from([0.0, 1.0, 300.0, 599.0, 600.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        silent = self.now - self.membership.last_message >= ANSWER_SECONDS
        assert self.happens(Tick()) == ([Fail(SILENCE)] if silent else [])

    @going_on
    @rule(worker=st.sampled_from(NAMES), join=st.sampled_from(JOINS), fate=st.integers(0, 3))
    def a_worker_asks(self, worker: str, join: work_pb2.Join, fate: int) -> None:
        self.says_something(worker)
        refused = self.happens(JoinRequested(worker, join))[-1] != Admit(worker, join)
        assert refused <= (join is not SAME or self.membership.data_digest == OTHER_DATA)
        if not refused and fate > 0:  # otherwise its process has ended
            self.computing[worker] = join
            self.in_record.discard(worker)
            assert self.happens(Admitted(worker, join.data_digest)) == [Enlist(worker)]

    def says_something(self, worker: str) -> None:
        self.happens(Spoke(worker))
        self.spoken.add(worker)

    @going_on
    @rule(data=st.data())
    def an_answer_is_used(self, data: st.DataObject) -> None:
        if self.computing and self.in_round:
            worker = data.draw(st.sampled_from(sorted(self.computing)))
            self.says_something(worker)
            new = [] if worker in self.in_record else [ReportJoined(worker)]
            assert self.happens(AnswerUsed(worker)) == new

    @going_on
    @rule(data=st.data(), expelled=st.booleans())
    def the_dispatch_parts_with_a_worker(self, data: st.DataObject, expelled: bool) -> None:
        if self.computing:
            worker = data.draw(st.sampled_from(sorted(self.computing)))
            del self.computing[worker]
            self.in_record.discard(worker)
            event = WorkerExpelled(worker, 15.0) if expelled else WorkerReleased(worker)
            self.is_gone(worker, self.membership.handle(event, self.now))

    @going_on
    @rule(worker=st.sampled_from(NAMES), fails=st.booleans(), permanent=st.booleans())
    def a_worker_goes(self, worker: str, fails: bool, permanent: bool) -> None:
        event = WorkerFailed(worker, "", permanent) if fails else WorkerGone(worker, "")
        self.is_gone(worker, self.happens(event))

    def is_gone(self, worker: str, instructions: list[Instruction]) -> None:
        assert Forget(worker) in instructions
        self.spoken.discard(worker)
        if self.asked_to_pause and self.in_round and not self.computing:
            assert instructions[-1] == BreakOff()
            self.over = BreakOff()

    @going_on
    @rule()
    def the_runner_asks_for_a_pause(self) -> None:
        self.asked_to_pause = True
        nobody = self.in_round and not self.computing
        assert self.happens(PauseRequested()) == ([BreakOff()] if nobody else [])

    @going_on
    @rule()
    def a_round_begins_or_ends(self) -> None:
        self.in_round = not self.in_round
        assert self.happens(RoundStarted() if self.in_round else RoundEnded()) == []

    @precondition(lambda self: self.over is not None)
    @rule()
    def nothing_more_happens(self) -> None:
        pass

    @invariant()
    def the_same_workers_are_known_everywhere(self) -> None:
        assert self.membership.working == set(self.computing)
        assert self.membership.contributors == self.in_record
        assert self.membership.stop_all() == [Stop(worker) for worker in sorted(self.spoken)]

    @invariant()
    def nobody_computes_with_other_data_or_unnoticed_with_other_bits(self) -> None:
        digests = {join.data_digest for join in self.computing.values()}
        assert digests <= {self.membership.data_digest}
        strange = {worker for worker, join in self.computing.items() if join is STRANGE}
        assert strange <= self.membership.other_bits.keys()
        assert self.policy == "any" or not self.membership.other_bits

    @invariant()
    def a_run_is_not_given_up_for_refusals_while_somebody_works(self) -> None:
        if isinstance(self.over, Fail) and "refused" in self.over.message:
            assert not self.computing
            assert self.membership.slots == self.membership.refused_slots


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["strict", "any"])
def test_whatever_happens_the_members_are_known(policy: FingerprintPolicy) -> None:
    class UnderPolicy(AnyCourse):
        pass

    UnderPolicy.policy = policy
    run_state_machine_as_test(UnderPolicy, settings=settings(max_examples=60, deadline=None))  # type: ignore[no-untyped-call]


def test_the_ends_are_what_they_are() -> None:
    assert set(OVER) == {Fail, BreakOff, Cancel}
