"""The policy of attempts: events in, instructions out, without processes, sockets or sleeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sumgrad.trainer.service.cluster.attempt_policy import (
    ASSUMED_CORES,
    CANCEL_SECONDS,
    LAUNCHED_AGAIN,
    LOST_SECONDS,
    NOT_ASKED,
    SILENCE_SECONDS,
    Attempt,
    AttemptActive,
    AttemptPolicy,
    AttemptStatus,
    BreakOff,
    Cancel,
    ClusterAnswered,
    ClusterUnavailable,
    Event,
    Fail,
    HoldQueue,
    InspectJob,
    Instruction,
    JobEnded,
    JobUnknown,
    LaunchEnded,
    LaunchOutcome,
    LookBegan,
    RunnerCalled,
    StartRuns,
    StopJob,
    Warn,
)

Course = list[Event | float]
"""What happens: each event at the time that stands before it, or at that of the one before."""


def after(*course: Event | float) -> AttemptPolicy:
    """The state that a course leads to."""
    policy, now = AttemptPolicy(), 0.0
    for what in course:
        if isinstance(what, float):
            now = what
        else:
            policy.handle(what, now)
    return policy


def now_of(course: Course) -> float:
    return next((what for what in reversed(course) if isinstance(what, float)), 0.0)


A, A2, B = Attempt("a", 1), Attempt("a", 2), Attempt("b", 1)
LOOK = LookBegan(frozenset({A}))
ACTIVE = AttemptActive(A)
CANCELLED = AttemptActive(A, cancel_requested=True)
DEAD = AttemptActive(A, ray_alive=False)
ANSWERED = ClusterAnswered(8)
SILENT = ClusterUnavailable("no answer")
WAITS = Warn(A, "no answer; the run waits for it")
LOST = BreakOff(A, "its runner was silent for 120 s")
RAY_DIED = BreakOff(A, "the Ray cluster died")

CALLED: Course = [ANSWERED, LOOK, RunnerCalled(A)]
"""The cluster answers, and the runner of attempt A has called at second 0."""

UNREACHABLE: Course = [*CALLED, SILENT]
"""And then the cluster has fallen silent."""


def ended(outcome: LaunchOutcome, reason: str = "") -> LaunchEnded:
    return LaunchEnded(A, outcome, reason)


# What happened before, what happens now, and everything that is to be done.
EXACT: dict[str, tuple[Course, Event, list[Instruction]]] = {
    # The cluster and the queue.
    "no run starts before the cluster was asked": ([], LOOK, []),
    "the first answer releases the queue": ([], ANSWERED, [HoldQueue("")]),
    "runs start while the cluster has CPUs": ([ANSWERED], LOOK, [StartRuns()]),
    "runs start at each look": ([ANSWERED, LOOK, 1.0], LOOK, [StartRuns()]),
    "another answer changes nothing": ([ANSWERED], ClusterAnswered(4), []),
    "a silent cluster holds the queue": ([ANSWERED], SILENT, [HoldQueue("no answer")]),
    "a cluster that stays silent changes nothing": ([ANSWERED, SILENT], SILENT, []),
    "a new reason is passed on": (
        [ANSWERED, SILENT],
        ClusterUnavailable("too old"),
        [HoldQueue("too old")],
    ),
    "no run starts on a silent cluster": ([ANSWERED, SILENT], LOOK, []),
    "a cluster that answers again releases the queue": (
        [ANSWERED, SILENT],
        ANSWERED,
        [HoldQueue("")],
    ),
    "runs start again when the cluster answers again": (
        [ANSWERED, SILENT, ANSWERED],
        LOOK,
        [StartRuns()],
    ),
    "a cluster without CPUs holds the queue": (
        [ANSWERED],
        ClusterAnswered(0),
        [HoldQueue("the Ray cluster has no CPUs")],
    ),
    "no run starts on a cluster without CPUs": ([ClusterAnswered(0)], LOOK, []),
    "a cluster that gets CPUs releases the queue": (
        [ClusterAnswered(0)],
        ANSWERED,
        [HoldQueue("")],
    ),
    # What a launch's outcome means.
    "a launch that was taken needs nothing more": (
        [ANSWERED],
        ended(LaunchOutcome.TAKEN),
        [],
    ),
    "a launch without an answer warns the run": (
        [ANSWERED],
        ended(LaunchOutcome.UNREACHABLE, "no answer"),
        [WAITS],
    ),
    "a launch that was refused is tried again": (
        [ANSWERED],
        ended(LaunchOutcome.REFUSED, "no room"),
        [BreakOff(A, "it could not be launched: no room", "it is launched again")],
    ),
    "a launch that cannot succeed fails the run": (
        [ANSWERED],
        ended(LaunchOutcome.IMPOSSIBLE, "data.path: must lie under /data"),
        [Fail(A, "it could not be launched: data.path: must lie under /data")],
    ),
    "a launched attempt has time to call": (
        [ANSWERED, 5.0, ended(LaunchOutcome.TAKEN), 7.0],
        ACTIVE,
        [],
    ),
    "a launched attempt that does not call is inspected": (
        [ANSWERED, 5.0, ended(LaunchOutcome.TAKEN), 7.1],
        ACTIVE,
        [InspectJob(A)],
    ),
    "a launched attempt that never calls is given up": (
        [ANSWERED, 5.0, ended(LaunchOutcome.TAKEN), 125.1],
        ACTIVE,
        [StopJob(A), LOST],
    ),
    "a launch without an answer is inspected like one that was taken": (
        [ANSWERED, 5.0, ended(LaunchOutcome.UNREACHABLE, "no answer"), 7.1],
        ACTIVE,
        [InspectJob(A)],
    ),
    "a call before the launch returned counts from its own time": (
        [ANSWERED, 5.0, RunnerCalled(A), 6.0, ended(LaunchOutcome.TAKEN), 7.1],
        ACTIVE,
        [InspectJob(A)],
    ),
    # Silent runners.
    "a runner that calls is left alone": ([*CALLED, 2.0], ACTIVE, []),
    "a silent runner's job is inspected": ([*CALLED, 2.1], ACTIVE, [InspectJob(A)]),
    "a silent runner's job is inspected at each look": (
        [*CALLED, 2.1, ACTIVE, 3.1, LOOK],
        ACTIVE,
        [InspectJob(A)],
    ),
    "a runner that calls again is not silent": (
        [*CALLED, 2.1, ACTIVE, 3.0, RunnerCalled(A), 5.0],
        ACTIVE,
        [],
    ),
    "an attempt that is new here has time to call": (
        [ANSWERED, 500.0, LOOK],
        ACTIVE,
        [],
    ),
    "it is silent after its time": (
        [ANSWERED, 500.0, LOOK, ACTIVE, 502.1],
        ACTIVE,
        [InspectJob(A)],
    ),
    "calls of another attempt do not count": (
        [*CALLED, 2.0, RunnerCalled(A2), RunnerCalled(B), 2.1],
        ACTIVE,
        [InspectJob(A)],
    ),
    "the next attempt at a run has its own time": (
        [*CALLED, 100.0, LaunchEnded(A2, LaunchOutcome.TAKEN), 102.0],
        AttemptActive(A2),
        [],
    ),
    "an attempt whose job has ended breaks off": (
        [*CALLED, 2.1, ACTIVE],
        JobEnded(A, "MemoryError"),
        [BreakOff(A, "its runner died: MemoryError")],
    ),
    "a job of unknown state warns the run": (
        [*CALLED, 2.1, ACTIVE],
        JobUnknown(A),
        [Warn(A, "the Ray cluster does not answer; the run waits for it")],
    ),
    "it warns once": ([*CALLED, 2.1, ACTIVE, JobUnknown(A), 3.1, ACTIVE], JobUnknown(A), []),
    "it warns again when the cluster has answered in between": (
        [*CALLED, 2.1, ACTIVE, JobUnknown(A), ANSWERED, 3.1, ACTIVE],
        JobUnknown(A),
        [Warn(A, "the Ray cluster does not answer; the run waits for it")],
    ),
    "a runner is silent for long before it is lost": ([*CALLED, 120.0], ACTIVE, [InspectJob(A)]),
    "a lost runner's job is stopped and its attempt given up": (
        [*CALLED, 120.1],
        ACTIVE,
        [StopJob(A), LOST],
    ),
    "a job is stopped once, should the outcome not be stored": (
        [*CALLED, 120.1, ACTIVE, 121.1, LOOK],
        ACTIVE,
        [LOST],
    ),
    # A silent cluster.
    "a cluster that was not asked yet is not asked for a job": (
        [RunnerCalled(A), 2.1],
        ACTIVE,
        [Warn(A, "the Ray cluster has not been asked yet; the run waits for it")],
    ),
    "runners that call are left alone by a silent cluster": ([*UNREACHABLE, 2.0], ACTIVE, []),
    "a silent cluster is not asked for a job": ([*UNREACHABLE, 2.1], ACTIVE, [WAITS]),
    "a silent cluster warns a run once": ([*UNREACHABLE, 2.1, ACTIVE, 3.1], ACTIVE, []),
    "and each run once": (
        [*UNREACHABLE, RunnerCalled(B), 2.1, ACTIVE],
        AttemptActive(B),
        [Warn(B, "no answer; the run waits for it")],
    ),
    "a cluster that is silent for another reason does not warn again": (
        [*UNREACHABLE, 2.1, ACTIVE, ClusterUnavailable("too old"), 3.1],
        ACTIVE,
        [],
    ),
    "a cluster that answers again is asked for the job": (
        [*UNREACHABLE, 2.1, ACTIVE, ANSWERED, 3.1],
        ACTIVE,
        [InspectJob(A)],
    ),
    "a cluster that falls silent again warns again": (
        [*UNREACHABLE, 2.1, ACTIVE, ANSWERED, SILENT, 3.1],
        ACTIVE,
        [WAITS],
    ),
    "a launch without an answer does not warn a second time": (
        [ANSWERED, ended(LaunchOutcome.UNREACHABLE, "no answer"), SILENT, 2.1],
        ACTIVE,
        [],
    ),
    "a lost runner is given up without a call of a silent cluster": (
        [*UNREACHABLE, 120.1],
        ACTIVE,
        [LOST],
    ),
    "a job that could not be stopped is stopped when the cluster answers": (
        [*UNREACHABLE, 120.1, ACTIVE, ANSWERED, 121.1],
        ACTIVE,
        [StopJob(A), LOST],
    ),
    # The service's own Ray.
    "an attempt ends with the Ray of its own": (CALLED, DEAD, [RAY_DIED]),
    "also when its runner was lost": ([*CALLED, 120.1], DEAD, [RAY_DIED]),
    # Cancellation.
    "a cancelled run has time to stop": ([*CALLED, 1.0], CANCELLED, []),
    "a cancelled run stops within its time": (
        [*CALLED, 1.0, CANCELLED, 11.0, RunnerCalled(A)],
        CANCELLED,
        [],
    ),
    "an overdue cancellation stops the job, though its runner calls": (
        [*CALLED, 1.0, CANCELLED, 11.1, RunnerCalled(A)],
        CANCELLED,
        [StopJob(A), Cancel(A)],
    ),
    "an overdue job is stopped once, should the outcome not be stored": (
        [*CALLED, 1.0, CANCELLED, 11.1, CANCELLED, 12.1],
        CANCELLED,
        [Cancel(A)],
    ),
    "an overdue cancellation does not wait for a silent cluster": (
        [*UNREACHABLE, 1.0, CANCELLED, 11.1],
        CANCELLED,
        [Cancel(A)],
    ),
    "an overdue cancellation needs no Ray": (
        [*CALLED, 1.0, CANCELLED, 11.1],
        AttemptActive(A, cancel_requested=True, ray_alive=False),
        [StopJob(A), Cancel(A)],
    ),
    "a cancelled run whose runner died breaks off in its time": (
        [*CALLED, 1.0, CANCELLED, 3.0, CANCELLED],
        JobEnded(A, "killed"),
        [BreakOff(A, "its runner died: killed")],
    ),
    "a cancelled run whose runner was lost is cancelled": (
        [*CALLED, 100.0, CANCELLED, 120.1],
        CANCELLED,
        [StopJob(A), Cancel(A)],
    ),
}


@pytest.mark.parametrize(("course", "event", "instructions"), EXACT.values(), ids=EXACT.keys())
def test_exactly_this_is_to_be_done(
    course: Course, event: Event, instructions: list[Instruction]
) -> None:
    assert after(*course).handle(event, now_of(course)) == instructions


@pytest.mark.parametrize(
    ("course", "cores"),
    [
        ([], ASSUMED_CORES),
        ([ANSWERED], 8),
        ([ANSWERED, ClusterAnswered(4)], 4),
        ([ANSWERED, SILENT], 8),
        ([ANSWERED, ClusterAnswered(0)], ASSUMED_CORES),
    ],
)
def test_the_cores_are_those_of_the_last_answer_that_named_some(course: Course, cores: int) -> None:
    assert after(*course).cores == cores


def test_attempts_that_are_not_active_any_more_are_forgotten() -> None:
    policy = after(*CALLED, RunnerCalled(B), LaunchEnded(A2, LaunchOutcome.TAKEN))
    assert policy.statuses.keys() == {A, A2, B}
    policy.handle(LookBegan(frozenset({A2, Attempt("c", 1)})), 1.0)
    assert policy.statuses.keys() == {A2}


# --- any course of events -------------------------------------------------------------------------

runs = st.sampled_from("abc")
job_states = st.sampled_from(["alive", "alive", "ended", "unknown"])
mostly = st.sampled_from([True, True, True, False])


@dataclass
class Active:
    """An active attempt, as the run store and the test's clock know it.

    Attributes:
        called: when its runner last called; None until the policy can know of it.
        cancelling: since when the policy knows that it is to be cancelled.
    """

    attempt: Attempt
    called: float | None = None
    cancel_requested: bool = False
    cancelling: float | None = None


class AnyCourseOfEvents(RuleBasedStateMachine):
    """Clusters, runners and the run store fail as they like; a second bookkeeping checks the first.

    Attributes:
        cpus: of the cluster, None while it does not answer.
        active: of each run that has an attempt.
        numbers: of each run's last attempt.
        stopped: attempts whose jobs have been stopped.
        warned: attempts whose runs have been warned since the cluster answered.
    """

    machine: ClassVar[type[AttemptPolicy]] = AttemptPolicy

    def __init__(self) -> None:
        super().__init__()
        self.policy = self.machine()
        self.now = 0.0
        self.cpus: int | None = None
        self.held = NOT_ASKED
        self.active: dict[str, Active] = {}
        self.numbers = dict.fromkeys("abc", 0)
        self.stopped: set[Attempt] = set()
        self.warned: set[Attempt] = set()

    @rule(seconds=st.sampled_from([0.1, 1.0, 1.9, 5.0, 11.0, 60.0, 119.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds

    @initialize(cpus=st.integers(0, 2))
    def cluster_is_asked_first(self, cpus: int) -> None:
        self.cluster_answers(cpus)

    @rule(cpus=st.integers(0, 2))
    def cluster_answers(self, cpus: int) -> None:
        self.cpus = cpus
        self.warned.clear()
        self.hold(ClusterAnswered(cpus))

    @rule(reason=st.sampled_from(["no answer", "too old"]))
    def cluster_does_not_answer(self, reason: str) -> None:
        self.cpus = None
        self.hold(ClusterUnavailable(reason))

    def hold(self, event: Event) -> None:
        """Whatever the cluster says, at most the queue is held or released."""
        for instruction in self.policy.handle(event, self.now):
            assert isinstance(instruction, HoldQueue)
            assert instruction.reason != self.held, "the same reason twice"
            self.held = instruction.reason
        assert (self.held == "") == bool(self.cpus)

    @rule(run=runs)
    def adopt(self, run: str) -> None:
        """An attempt that another service launched becomes this one's."""
        if run not in self.active:
            self.begin(run)

    def begin(self, run: str) -> Active:
        self.numbers[run] += 1
        begun = self.active[run] = Active(Attempt(run, self.numbers[run]))
        return begun

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def runner_calls(self, data: st.DataObject) -> None:
        one = self.draw_active(data)
        one.called = self.now
        assert self.policy.handle(RunnerCalled(one.attempt), self.now) == []

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def run_is_cancelled(self, data: st.DataObject) -> None:
        self.draw_active(data).cancel_requested = True

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def runner_reports_its_outcome(self, data: st.DataObject) -> None:
        del self.active[self.draw_active(data).attempt.run_id]

    def draw_active(self, data: st.DataObject) -> Active:
        return self.active[data.draw(st.sampled_from(sorted(self.active)))]

    @rule(data=st.data(), ray_alive=mostly, stores=st.booleans())
    def look(self, data: st.DataObject, ray_alive: bool, stores: bool) -> None:
        """One look at everything, during which the run store may fail."""
        active = list(self.active.values())
        event = LookBegan(frozenset(one.attempt for one in active))
        instructions = self.policy.handle(event, self.now)
        assert self.policy.statuses.keys() <= event.active
        if instructions:
            assert instructions == [StartRuns()]
            assert self.cpus, "runs are started on a cluster that is held"
            self.launch(data)
        for one in active:
            self.look_at(one, data, ray_alive, stores)

    def launch(self, data: st.DataObject) -> None:
        for run in sorted(self.numbers.keys() - self.active):
            begun = self.begin(run)
            begun.called = self.now
            outcome = data.draw(st.sampled_from(LaunchOutcome))
            event = LaunchEnded(begun.attempt, outcome, "because")
            for instruction in self.policy.handle(event, self.now):
                self.carry_out(instruction, begun, data, stores=True)
            goes_on = outcome in (LaunchOutcome.TAKEN, LaunchOutcome.UNREACHABLE)
            assert (run in self.active) == goes_on

    def look_at(self, one: Active, data: st.DataObject, ray_alive: bool, stores: bool) -> None:
        one.called = self.now if one.called is None else one.called
        if one.cancel_requested and one.cancelling is None:
            one.cancelling = self.now
        event = AttemptActive(one.attempt, one.cancel_requested, ray_alive)
        instructions = self.policy.handle(event, self.now)
        lost = self.now - one.called > LOST_SECONDS
        overdue = one.cancelling is not None and self.now - one.cancelling > CANCEL_SECONDS
        over = lost or overdue or not ray_alive
        silent = self.now - one.called > SILENCE_SECONDS
        assert over or silent or not instructions, "an attempt that goes on is disturbed"
        ends = [type(each) for each in instructions if isinstance(each, BreakOff | Cancel | Fail)]
        assert ends == ([Cancel] if overdue else [BreakOff] if over else [])
        for instruction in instructions:
            self.carry_out(instruction, one, data, stores)

    def carry_out(
        self, instruction: Instruction, one: Active, data: st.DataObject, stores: bool
    ) -> None:
        match instruction:
            case InspectJob(attempt):
                assert self.cpus is not None, "a silent cluster is asked"
                self.inspect(attempt, one, data, stores)
            case StopJob(attempt):
                assert self.cpus is not None, "a silent cluster is asked"
                assert attempt not in self.stopped, "a job is stopped twice"
                self.stopped.add(attempt)
            case Warn(attempt, message):
                assert message.endswith("; the run waits for it")
                assert attempt not in self.warned, "a run is warned twice"
                self.warned.add(attempt)
            case BreakOff(attempt) | Cancel(attempt) | Fail(attempt):
                assert attempt == one.attempt
                if stores:
                    del self.active[attempt.run_id]
            case _:
                raise AssertionError(f"{instruction} is out of place")

    def inspect(self, attempt: Attempt, one: Active, data: st.DataObject, stores: bool) -> None:
        found = data.draw(job_states)
        answers = {"ended": JobEnded(attempt, "killed"), "unknown": JobUnknown(attempt)}
        event = answers.get(found)
        for instruction in self.policy.handle(event, self.now) if event else ():
            self.carry_out(instruction, one, data, stores)
        if stores:
            assert (attempt.run_id in self.active) == (found != "ended")


@pytest.mark.slow
def test_no_course_of_events_breaks_the_rules_of_attempts() -> None:
    run_state_machine_as_test(AnyCourseOfEvents, settings=settings(max_examples=150, deadline=None))


class StartsWhileHeld(AttemptPolicy):
    """A wrong policy: it launches on a cluster that does not answer."""

    def handle(self, event: Event, now: float) -> list[Instruction]:
        instructions = super().handle(event, now)
        return [StartRuns()] if isinstance(event, LookBegan) else instructions


class StopsAgain(AttemptPolicy):
    """A wrong policy: a job is stopped at each look."""

    def _stop(self, attempt: Attempt, status: AttemptStatus) -> list[Instruction]:
        status.stopped = False
        return super()._stop(attempt, status)


class WarnsAgain(AttemptPolicy):
    """A wrong policy: a silent cluster warns a run at each look."""

    def _warn(self, attempt: Attempt, now: float, reason: str) -> list[Instruction]:
        self._status(attempt, now).warned = False
        return super()._warn(attempt, now, reason)


class AsksTheSilent(AttemptPolicy):
    """A wrong policy: a cluster that does not answer is asked for each job."""

    def handle(self, event: Event, now: float) -> list[Instruction]:
        instructions = super().handle(event, now)
        self.unavailable = ""
        return instructions


class WaitsForEver(AttemptPolicy):
    """A wrong policy: each look counts as a call of the runner."""

    def handle(self, event: Event, now: float) -> list[Instruction]:
        instructions = super().handle(event, now)
        for status in self.statuses.values() if isinstance(event, LookBegan) else ():
            status.called = now
        return instructions


class IgnoresCalls(AttemptPolicy):
    """A wrong policy: a runner that calls is given up."""

    def handle(self, event: Event, now: float) -> list[Instruction]:
        return [] if isinstance(event, RunnerCalled) else super().handle(event, now)


class IgnoresCancellations(AttemptPolicy):
    """A wrong policy: a cancelled run may go on for ever."""

    def handle(self, event: Event, now: float) -> list[Instruction]:
        if isinstance(event, AttemptActive):
            event = AttemptActive(event.attempt, False, event.ray_alive)
        return super().handle(event, now)


class ForgetsNothing(AttemptPolicy):
    """A wrong policy: attempts that are over stay in memory."""

    def handle(self, event: Event, now: float) -> list[Instruction]:
        before = self.statuses
        instructions = super().handle(event, now)
        self.statuses = before | self.statuses
        return instructions


class GivesUpTheUnreachable(AttemptPolicy):
    """A wrong policy: a launch without an answer is launched again, so two may run."""

    def handle(self, event: Event, now: float) -> list[Instruction]:
        if isinstance(event, LaunchEnded) and event.outcome is LaunchOutcome.UNREACHABLE:
            return [BreakOff(event.attempt, event.reason, LAUNCHED_AGAIN)]
        return super().handle(event, now)


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrong",
    [
        StartsWhileHeld,
        StopsAgain,
        WarnsAgain,
        AsksTheSilent,
        WaitsForEver,
        IgnoresCalls,
        IgnoresCancellations,
        ForgetsNothing,
        GivesUpTheUnreachable,
    ],
)
def test_the_course_of_events_finds_a_wrong_policy(wrong: type[AttemptPolicy]) -> None:
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
