"""What may happen to a run, and what becomes of it: every decision about a run's state.

Each function here is given the run as it is stored and says what it becomes. ``Store.change`` calls
it inside the transaction that has just read the run, so nothing can come in between. What a client
asks for is refused where it cannot be done. What the service has noticed of an attempt was noticed
a while ago: it comes to nothing where that attempt is over by then.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sumgrad.trainer.record import history, states
from sumgrad.trainer.record.events import from_report, new_event, state_event
from sumgrad.trainer.service.api.run_errors import (
    NotPausedError,
    NotTheRunnerError,
    RunElsewhereError,
    RunEndedError,
)
from sumgrad.trainer.service.runs.stored_run import StoredRun
from sumgrad.trainer.v1 import run_pb2, runner_pb2

FRUITLESS_ATTEMPTS = 5
"""A run whose attempts break off so often in a row without getting further has failed."""

_UNSPECIFIED = run_pb2.RUN_STATE_UNSPECIFIED
_QUEUED = run_pb2.RUN_STATE_QUEUED
_LAUNCHING = run_pb2.RUN_STATE_LAUNCHING
_RUNNING = run_pb2.RUN_STATE_RUNNING
_PAUSED = run_pb2.RUN_STATE_PAUSED
_FAILED = run_pb2.RUN_STATE_FAILED
_CANCELLED = run_pb2.RUN_STATE_CANCELLED

FOLLOWS: Mapping[int, frozenset[run_pb2.RunState]] = {
    _UNSPECIFIED: states.OPEN | states.ENDED,  # a run begins in its first event's state
    _QUEUED: frozenset({_LAUNCHING, _PAUSED, _FAILED, _CANCELLED}),
    _LAUNCHING: frozenset({_RUNNING, _QUEUED, _PAUSED}) | states.ENDED,
    _RUNNING: frozenset({_QUEUED, _PAUSED}) | states.ENDED,
    _PAUSED: frozenset({_QUEUED, _FAILED, _CANCELLED}),
    **dict.fromkeys(states.ENDED, frozenset()),
}
"""The states that may follow each state. The store holds every change to it."""

STOPPED: Mapping[int, run_pb2.RunState] = {
    run_pb2.STOP_PAUSE: _PAUSED,
    run_pb2.STOP_CANCEL: _CANCELLED,
}
"""What becomes of a run that was asked to stop, when its attempt is over without an outcome."""

GOES_ON = "it goes on from its last snapshot"


class Change(NamedTuple):
    """What becomes of a run.

    Attributes:
        stored: with the service, token and number of the last report that it then has.
        events: what happens to it.
    """

    stored: StoredRun
    events: Sequence[run_pb2.Event] = ()


Transition = Callable[[StoredRun], Change]
"""Raises a RunError if nothing may happen."""


def may_follow(run: run_pb2.Run, event: run_pb2.Event) -> bool:
    """Whether the event is no change of state, or one that the table allows."""
    return not event.HasField("state_change") or event.state_change.state in FOLLOWS[run.state]


# What clients ask for. All raise RunEndedError and RunElsewhereError.


def cancel(stored: StoredRun, service: str) -> Change:
    """Stop for good: at once where there is no attempt, and else as soon as that has stopped."""
    check_changeable(stored, service)
    if stored.run.state in states.WAITING:
        return _to(stored, _CANCELLED, "cancelled")
    return _request(stored, run_pb2.STOP_CANCEL)


def pause(stored: StoredRun, service: str) -> Change:
    """Rest: at once where there is no attempt, and else at a snapshot of it."""
    check_changeable(stored, service)
    if stored.run.state == _QUEUED:
        return _to(stored, _PAUSED, "paused while queued")
    if stored.run.state == _PAUSED:
        return Change(stored)
    return _request(stored, run_pb2.STOP_PAUSE)


def resume(stored: StoredRun, service: str) -> Change:
    """Queue a paused run again.

    Raises:
        NotPausedError
    """
    check_changeable(stored, service)
    if stored.run.state != _PAUSED:
        run_id = stored.run.id
        raise NotPausedError(run_id, f"run {run_id} is not paused, so it cannot be resumed")
    return _to(stored, _QUEUED, "resumed")


def scale(stored: StoredRun, service: str, workers: int) -> Change:
    """Want another number of workers, now or when the run is launched."""
    check_changeable(stored, service)
    return Change(stored, [new_event(scaled=run_pb2.Scaled(workers=workers))])


def check_changeable(stored: StoredRun, service: str) -> None:
    """Hold that the run has not ended and that the service looks after it."""
    if states.ended(stored.run):
        raise RunEndedError(stored.run.id, f"run {stored.run.id} has already ended")
    if stored.service != service:
        raise RunElsewhereError(
            stored.run.id,
            f"run {stored.run.id} belongs to another service on this run store; ask that one",
        )


# What runners say. All raise NotTheRunnerError.


def take(stored: StoredRun, attempt: int, token: str) -> Change:
    """The runner of the attempt has started."""
    check_runner(stored, attempt, token)
    return _to(stored, _RUNNING) if stored.run.state == _LAUNCHING else Change(stored)


def report(
    stored: StoredRun, attempt: int, token: str, reports: Mapping[int, runner_pb2.RunReport]
) -> Change:
    """What the runner says happens, each report once however often it comes.

    Args:
        reports: by their numbers, ascending.
    """
    check_speaker(stored, attempt, token)
    fresh = [report for number, report in reports.items() if number > stored.reported]
    if not fresh or states.ended(stored.run):
        return Change(stored)
    check_runner(stored, attempt, token)
    events = [_reported(stored.run, report) for report in fresh]
    return Change(stored._replace(reported=max(reports)), events)


def _reported(run: run_pb2.Run, report: runner_pb2.RunReport) -> run_pb2.Event:
    """Whatever the runner was told when it began to stop, what was asked for last counts."""
    if not report.HasField("paused"):
        return from_report(report)
    if run.stop_requested == run_pb2.STOP_CANCEL:
        return state_event(_CANCELLED, "cancelled")
    if run.preempted_by and not run.stop_requested:
        paused = report.paused
        more = f": {paused.reason}" if paused.reason else f" at step {paused.step}"
        return state_event(_QUEUED, f"preempted by {run.preempted_by}{more}")
    return from_report(report)


def check_runner(stored: StoredRun, attempt: int, token: str) -> None:
    """Hold that this is the runner of an attempt that goes on."""
    check_speaker(stored, attempt, token)
    if stored.run.state not in states.ACTIVE:
        raise NotTheRunnerError(stored.run.id, attempt)


def check_speaker(stored: StoredRun, attempt: int, token: str) -> None:
    """Hold that this is the runner of the last attempt, which may be over: it has last words."""
    known = stored.token.encode()
    if (
        stored.run.attempt != attempt
        or not known
        or not secrets.compare_digest(known, token.encode())
    ):
        raise NotTheRunnerError(stored.run.id, attempt)


# What the service does, and what it notices.


def launch(stored: StoredRun, service: str, token: str) -> Change:
    """Begin an attempt, whose reports count from 1 and need the token."""
    if stored.service != service or stored.run.state != _QUEUED:
        return Change(stored)
    return _to(stored._replace(token=token, reported=0), _LAUNCHING)


def stop_before_launch(stored: StoredRun, attempt: int) -> Change:
    """Spare the attempt its job if the run has been asked to stop meanwhile."""
    if not _goes_on(stored, attempt):
        return Change(stored)
    return _stopped(stored._replace(token=""), "paused before its job began") or Change(stored)


def preempt(stored: StoredRun, service: str, by: str) -> Change:
    """Have the run give way to another one, unless it stops anyway."""
    run = stored.run
    stops = run.preempted_by or run.stop_requested
    if stored.service != service or run.state != _RUNNING or stops:
        return Change(stored)
    return Change(stored, [new_event(preempted=run_pb2.Preempted(by=by))])


def break_off(stored: StoredRun, attempt: int, reason: str, again: str = GOES_ON) -> Change:
    """The attempt is over without an outcome: the run is queued again, a few times.

    Its runner, should it be alive, is no longer listened to.

    Args:
        again: what a run that is queued again does.
    """
    if not _goes_on(stored, attempt):
        return Change(stored)
    given_up = stored._replace(token="")
    stopped = _stopped(given_up, reason)
    if stopped is not None:
        return stopped
    attempts = history.fruitless(stored.run)
    if attempts >= FRUITLESS_ATTEMPTS:
        often = f"{attempts} attempts in a row got no further; the last: {reason}"
        return _to(given_up, _FAILED, often)
    return _to(given_up, _QUEUED, f"{reason}; {again}")


def overdue(stored: StoredRun, attempt: int) -> Change:
    """The attempt was to be cancelled and did not stop by itself in time."""
    if not _goes_on(stored, attempt) or stored.run.stop_requested != run_pb2.STOP_CANCEL:
        return Change(stored)
    return _to(stored, _CANCELLED, "cancelled")


def fail(stored: StoredRun, attempt: int, reason: str) -> Change:
    """Another attempt would be no better."""
    return _to(stored, _FAILED, reason) if _goes_on(stored, attempt) else Change(stored)


def warn(stored: StoredRun, attempt: int, message: str) -> Change:
    """Something is to be known of the attempt."""
    if not _goes_on(stored, attempt):
        return Change(stored)
    return Change(stored, [new_event(warning=run_pb2.Warning(message=message))])


def adopt(stored: StoredRun, gone: str, service: str, over: bool) -> Change:
    """Look after a run whose service is gone.

    Args:
        over: the job of its attempt has ended. That is not held against the run.
    """
    if stored.service != gone:
        return Change(stored)
    stored = stored._replace(service=service)
    if not over or stored.run.state in states.WAITING | states.ENDED:
        return Change(stored)
    given_up, reason = stored._replace(token=""), "its service ended"
    return _stopped(given_up, reason) or _to(given_up, _QUEUED, f"{reason}; {GOES_ON}")


def end(stored: StoredRun, service: str, state: run_pb2.RunState, message: str) -> Change:
    """Whatever the run does: the service that it belonged to goes on with nothing."""
    return _to(stored, state, message) if stored.service == service else Change(stored)


def _goes_on(stored: StoredRun, attempt: int) -> bool:
    return stored.run.attempt == attempt and stored.run.state in states.ACTIVE


def _stopped(stored: StoredRun, reason: str) -> Change | None:
    """What becomes of a run that was asked to stop, and whose attempt is over."""
    state = STOPPED.get(stored.run.stop_requested)
    if state is None:
        return None
    return _to(stored, state, "cancelled" if state == _CANCELLED else reason)


def _request(stored: StoredRun, stop: run_pb2.Stop) -> Change:
    if stored.run.stop_requested >= stop:
        return Change(stored)
    return Change(stored, [new_event(stop_requested=run_pb2.StopRequested(stop=stop))])


def _to(stored: StoredRun, state: run_pb2.RunState, message: str = "") -> Change:
    return Change(stored, [state_event(state, message)])
