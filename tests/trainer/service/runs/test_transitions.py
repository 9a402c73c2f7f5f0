"""Decisions about a run: what each thing makes of each state, in whatever order they come."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sumgrad.trainer.record import history, states
from sumgrad.trainer.service.api.run_errors import (
    NotPausedError,
    NotTheRunnerError,
    RunElsewhereError,
    RunEndedError,
    RunError,
)
from sumgrad.trainer.service.runs import transitions
from sumgrad.trainer.service.runs.stored_run import StoredRun
from sumgrad.trainer.service.runs.transitions import FOLLOWS, Change
from sumgrad.trainer.v1 import run_pb2, runner_pb2

QUEUED = run_pb2.RUN_STATE_QUEUED
LAUNCHING = run_pb2.RUN_STATE_LAUNCHING
RUNNING = run_pb2.RUN_STATE_RUNNING
PAUSED = run_pb2.RUN_STATE_PAUSED
SUCCEEDED = run_pb2.RUN_STATE_SUCCEEDED
FAILED = run_pb2.RUN_STATE_FAILED
CANCELLED = run_pb2.RUN_STATE_CANCELLED
STATES = [state for state in run_pb2.RunState.values() if state]

NO_STOP = run_pb2.STOP_UNSPECIFIED
PAUSE = run_pb2.STOP_PAUSE
CANCEL = run_pb2.STOP_CANCEL

ATTEMPT = 3
ME = "service-1"


def run(
    state: run_pb2.RunState,
    stop: run_pb2.Stop = NO_STOP,
    preempted_by: str = "",
    fruitless: int = 0,
) -> StoredRun:
    """A run that is in its third attempt, or was."""
    message = run_pb2.Run(
        id="r-1",
        state=state,
        attempt=ATTEMPT,
        stop_requested=stop,
        preempted_by=preempted_by,
        fruitless_attempts=fruitless,
    )
    return StoredRun(1, message, ME, 9, 4, "token")


def after(change: Change) -> StoredRun:
    """The run when its events have happened, all of which must be allowed to."""
    happened = run_pb2.Run()
    happened.CopyFrom(change.stored.run)
    for event in change.events:
        assert transitions.may_follow(happened, event)
        assert history.apply(happened, event)
    return change.stored._replace(run=happened)


def state(change: Change) -> run_pb2.RunState:
    return after(change).run.state


def said(number: int, **kind: object) -> dict[int, runner_pb2.RunReport]:
    return {number: runner_pb2.RunReport(number=number, **kind)}  # type: ignore[arg-type]


STOPPED_AT_7 = said(5, paused=runner_pb2.Paused(step=7))


def stopped(stored: StoredRun) -> Change:
    """Its runner says that it has stopped at a snapshot."""
    return transitions.report(stored, ATTEMPT, "token", STOPPED_AT_7)


def broken_off(stored: StoredRun) -> Change:
    return transitions.break_off(stored, ATTEMPT, "its runner died")


def adopted(stored: StoredRun) -> Change:
    return transitions.adopt(stored, ME, "service-2", True)


# --- the table ----------------------------------------------------------------------------------


def test_every_state_has_its_followers_and_what_has_ended_has_none() -> None:
    assert FOLLOWS.keys() == set(run_pb2.RunState.values())
    assert {each for each in STATES if not FOLLOWS[each]} == states.ENDED


def test_a_run_is_launched_from_the_queue_alone_and_works_only_when_it_was_launched() -> None:
    assert [each for each in STATES if LAUNCHING in FOLLOWS[each]] == [QUEUED]
    assert [each for each in STATES if RUNNING in FOLLOWS[each]] == [LAUNCHING]
    assert {each for each in STATES if SUCCEEDED in FOLLOWS[each]} == states.ACTIVE


# --- what clients ask for -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ask", "begin", "end", "stop"),
    [
        (transitions.cancel, QUEUED, CANCELLED, NO_STOP),
        (transitions.cancel, PAUSED, CANCELLED, NO_STOP),
        (transitions.cancel, LAUNCHING, LAUNCHING, CANCEL),
        (transitions.cancel, RUNNING, RUNNING, CANCEL),
        (transitions.pause, QUEUED, PAUSED, NO_STOP),
        (transitions.pause, PAUSED, PAUSED, NO_STOP),
        (transitions.pause, LAUNCHING, LAUNCHING, PAUSE),
        (transitions.pause, RUNNING, RUNNING, PAUSE),
        (transitions.resume, PAUSED, QUEUED, NO_STOP),
    ],
)
def test_what_is_asked_for_is_done_at_once_or_remembered(
    ask: Callable[[StoredRun, str], Change],
    begin: run_pb2.RunState,
    end: run_pb2.RunState,
    stop: run_pb2.Stop,
) -> None:
    now = after(ask(run(begin), ME)).run
    assert (now.state, now.stop_requested) == (end, stop)


@pytest.mark.parametrize("ask", [transitions.cancel, transitions.pause, transitions.resume])
def test_nothing_is_asked_of_a_run_that_has_ended_or_is_anothers(
    ask: Callable[[StoredRun, str], Change],
) -> None:
    for each in states.ENDED:
        with pytest.raises(RunEndedError):
            ask(run(each), ME)
    for each in states.OPEN - {run_pb2.RUN_STATE_UNSPECIFIED}:
        with pytest.raises(RunElsewhereError):
            ask(run(each), "service-2")


@pytest.mark.parametrize("begin", [QUEUED, LAUNCHING, RUNNING])
def test_only_a_paused_run_is_resumed_so_a_second_time_is_refused(begin: run_pb2.RunState) -> None:
    with pytest.raises(NotPausedError):
        transitions.resume(run(begin), ME)


def test_asking_again_is_no_event_and_a_pause_takes_no_cancellation_back() -> None:
    assert not transitions.cancel(run(RUNNING, CANCEL), ME).events
    assert not transitions.pause(run(RUNNING, PAUSE), ME).events
    assert not transitions.pause(run(RUNNING, CANCEL), ME).events
    assert after(transitions.cancel(run(RUNNING, PAUSE), ME)).run.stop_requested == CANCEL


# --- the end of an attempt ----------------------------------------------------------------------


@pytest.mark.parametrize("begin", [LAUNCHING, RUNNING])
@pytest.mark.parametrize(
    ("stop", "preempted_by", "by_runner", "by_itself"),
    [
        (NO_STOP, "", PAUSED, QUEUED),
        (NO_STOP, "r-2", QUEUED, QUEUED),
        (PAUSE, "", PAUSED, PAUSED),
        (PAUSE, "r-2", PAUSED, PAUSED),
        (CANCEL, "", CANCELLED, CANCELLED),
        (CANCEL, "r-2", CANCELLED, CANCELLED),
    ],
)
def test_an_attempt_without_an_outcome_ends_as_was_asked_for_last(
    begin: run_pb2.RunState,
    stop: run_pb2.Stop,
    preempted_by: str,
    by_runner: run_pb2.RunState,
    by_itself: run_pb2.RunState,
) -> None:
    before = run(begin, stop, preempted_by)
    assert state(stopped(before)) == by_runner
    for change in (broken_off(before), adopted(before)):
        assert state(change) == by_itself
        assert not change.stored.token
    assert after(stopped(before)).run.stop_requested == NO_STOP


def test_a_run_that_gets_no_further_fails_unless_it_was_to_stop_or_its_service_ended() -> None:
    often = transitions.FRUITLESS_ATTEMPTS - 1
    assert state(broken_off(run(RUNNING, fruitless=often - 1))) == QUEUED
    assert state(broken_off(run(RUNNING, fruitless=often))) == FAILED
    assert state(broken_off(run(RUNNING, PAUSE, fruitless=often))) == PAUSED
    assert state(adopted(run(RUNNING, fruitless=often))) == QUEUED


@pytest.mark.parametrize(
    ("stop", "end"), [(NO_STOP, LAUNCHING), (PAUSE, PAUSED), (CANCEL, CANCELLED)]
)
def test_a_run_that_is_to_stop_gets_no_job(stop: run_pb2.Stop, end: run_pb2.RunState) -> None:
    assert state(transitions.stop_before_launch(run(LAUNCHING, stop), ATTEMPT)) == end


def test_only_a_cancellation_becomes_overdue() -> None:
    ends = [state(transitions.overdue(run(RUNNING, stop), ATTEMPT)) for stop in (0, 1, 2)]
    assert ends == [RUNNING, RUNNING, CANCELLED]


NOTICED: dict[str, Callable[[StoredRun, int], Change]] = {
    "break_off": lambda now, attempt: transitions.break_off(now, attempt, "its runner died"),
    "fail": lambda now, attempt: transitions.fail(now, attempt, "no room"),
    "overdue": transitions.overdue,
    "stop_before_launch": transitions.stop_before_launch,
    "warn": lambda now, attempt: transitions.warn(now, attempt, "the cluster is silent"),
}


@pytest.mark.parametrize("noticed", NOTICED.values(), ids=NOTICED)
def test_what_was_noticed_of_an_attempt_that_is_over_comes_to_nothing(
    noticed: Callable[[StoredRun, int], Change],
) -> None:
    for stop in (NO_STOP, PAUSE, CANCEL):
        for each in set(STATES) - states.ACTIVE:
            assert noticed(run(each, stop), ATTEMPT) == Change(run(each, stop))
        for each in states.ACTIVE:
            assert noticed(run(each, stop), ATTEMPT - 1) == Change(run(each, stop))


# --- runners ------------------------------------------------------------------------------------


@pytest.mark.parametrize("begin", [QUEUED, PAUSED])
def test_the_runner_of_a_run_that_waits_does_nothing_to_it(begin: run_pb2.RunState) -> None:
    with pytest.raises(NotTheRunnerError):
        transitions.take(run(begin), ATTEMPT, "token")
    with pytest.raises(NotTheRunnerError):
        transitions.report(run(begin), ATTEMPT, "token", said(5, finished=run_pb2.Result()))


@pytest.mark.parametrize("begin", sorted(set(STATES) - states.ACTIVE))
def test_a_last_report_that_comes_again_is_acknowledged(begin: run_pb2.RunState) -> None:
    again = said(4, paused=runner_pb2.Paused(step=7))
    assert transitions.report(run(begin), ATTEMPT, "token", again) == Change(run(begin))


@pytest.mark.parametrize("begin", [LAUNCHING, RUNNING])
@pytest.mark.parametrize(("attempt", "token"), [(ATTEMPT - 1, "token"), (ATTEMPT, "other")])
def test_nobody_else_is_the_runner(begin: run_pb2.RunState, attempt: int, token: str) -> None:
    with pytest.raises(NotTheRunnerError):
        transitions.take(run(begin), attempt, token)
    with pytest.raises(NotTheRunnerError):
        transitions.report(run(begin), attempt, token, STOPPED_AT_7)


def test_where_nobody_may_speak_an_empty_token_is_none() -> None:
    with pytest.raises(NotTheRunnerError):
        transitions.take(run(RUNNING)._replace(token=""), ATTEMPT, "")


# --- giving way ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        run(LAUNCHING),
        run(QUEUED),
        run(RUNNING, PAUSE),
        run(RUNNING, CANCEL),
        run(RUNNING, preempted_by="r-3"),
        run(RUNNING)._replace(service="service-2"),
    ],
    ids=lambda other: str(other.run.state),
)
def test_only_a_run_that_works_here_and_does_not_stop_anyway_gives_way(other: StoredRun) -> None:
    assert after(transitions.preempt(run(RUNNING), ME, "r-2")).run.preempted_by == "r-2"
    assert not transitions.preempt(other, ME, "r-2").events


# --- any course of events -----------------------------------------------------------------------


def _asks(ask: Callable[[StoredRun, str], Change]) -> Callable[[StoredRun, int], Change]:
    return lambda now, _attempt: ask(now, ME)


THINGS: dict[str, Callable[[StoredRun, int], Change]] = {
    **NOTICED,
    "cancel": _asks(transitions.cancel),
    "pause": _asks(transitions.pause),
    "resume": _asks(transitions.resume),
    "launch": lambda now, _: transitions.launch(now, ME, f"token {now.run.attempt + 1}"),
    "preempt": lambda now, _: transitions.preempt(now, ME, "r-2"),
    "adopt": lambda now, _: transitions.adopt(now, ME, ME, True),
    "take": lambda now, attempt: transitions.take(now, attempt, f"token {attempt}"),
    **{
        kind: lambda now, attempt, report=report: transitions.report(  # type: ignore[misc]
            now, attempt, f"token {attempt}", {now.reported + 1: report}
        )
        for kind, report in {
            "progress": runner_pb2.RunReport(progress=run_pb2.Progress(step=1)),
            "paused": runner_pb2.RunReport(paused=runner_pb2.Paused()),
            "finished": runner_pb2.RunReport(finished=run_pb2.Result()),
            "failed": runner_pb2.RunReport(failed=runner_pb2.Failed()),
            "stopped": runner_pb2.RunReport(cancelled=runner_pb2.Cancelled()),
        }.items()
    },
}


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(THINGS)), st.integers(0, 2)), max_size=40))
def test_in_whatever_order_things_come_a_run_keeps_what_was_promised(
    things: list[tuple[str, int]],
) -> None:
    """Each thing is of the present attempt, or of one that was noticed so many attempts ago."""
    first = StoredRun(1, run_pb2.Run(id="r-1", state=QUEUED), ME, 0, 0, "")
    stored, cancelled = first, False
    for name, ago in things:
        before = stored
        try:
            change = THINGS[name](before, before.run.attempt - ago)
        except RunError:
            continue
        stored = after(change)
        cancelled |= name == "cancel"
        launched = stored.run.attempt > before.run.attempt
        # One attempt at a time: it begins where the one before is over.
        assert not launched or before.run.state == QUEUED
        # Of an attempt that is over, nothing happens to the run.
        if ago and name in {*NOTICED, "take", "progress", "paused", "finished", "failed"}:
            assert stored == before
        # A cancelled run begins no attempt any more, and has ended when its attempt is over.
        if cancelled:
            assert not launched
            assert stored.run.state in states.ACTIVE | states.ENDED
            assert states.ended(stored.run) or stored.run.stop_requested == CANCEL
        # Nothing is left of a wish when the attempt that it was for is over.
        assert stored.run.state in states.ACTIVE or not stored.run.stop_requested
