"""Every decision about a run's state: what may happen to a run, and what becomes of it.

Each function takes the run as it is stored and returns what it becomes. The run store calls it
inside the transaction that has just read the run, so nothing can come in between. What a client
asks for is refused where it cannot be done. What the service observed of an attempt may be out of
date by then: it changes nothing once that attempt is over.
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
"""A run fails when so many of its attempts in a row break off without getting further."""

_UNSPECIFIED = run_pb2.RUN_STATE_UNSPECIFIED
_QUEUED = run_pb2.RUN_STATE_QUEUED
_LAUNCHING = run_pb2.RUN_STATE_LAUNCHING
_RUNNING = run_pb2.RUN_STATE_RUNNING
_PAUSED = run_pb2.RUN_STATE_PAUSED
_FAILED = run_pb2.RUN_STATE_FAILED
_CANCELLED = run_pb2.RUN_STATE_CANCELLED

FOLLOWS: Mapping[int, frozenset[run_pb2.RunState]] = {
    _UNSPECIFIED: states.OPEN | states.ENDED,  # the state before a run's first event
    _QUEUED: frozenset({_LAUNCHING, _PAUSED, _FAILED, _CANCELLED}),
    _LAUNCHING: frozenset({_RUNNING, _QUEUED, _PAUSED}) | states.ENDED,
    _RUNNING: frozenset({_QUEUED, _PAUSED}) | states.ENDED,
    _PAUSED: frozenset({_QUEUED, _FAILED, _CANCELLED}),
    **dict.fromkeys(states.ENDED, frozenset()),
}
"""The states that may follow each state. The store checks every change against this table."""

STOPPED: Mapping[int, run_pb2.RunState] = {
    run_pb2.STOP_PAUSE: _PAUSED,
    run_pb2.STOP_CANCEL: _CANCELLED,
}
"""The state of a run that was asked to stop, once its attempt is over without an outcome."""

GOES_ON = "it goes on from its last snapshot"


class Change(NamedTuple):
    """What becomes of a run.

    Attributes:
        stored: the run, with its new service, token and number of the last report.
        events: what happens to it.
    """

    stored: StoredRun
    events: Sequence[run_pb2.Event] = ()


Transition = Callable[[StoredRun], Change]
"""Raises a RunError if the change is not allowed."""


def may_follow(run: run_pb2.Run, event: run_pb2.Event) -> bool:
    """Whether the table allows the event, which may also leave the state as it is."""
    return not event.HasField("state_change") or event.state_change.state in FOLLOWS[run.state]


# What clients ask for. All raise RunEndedError and RunElsewhereError.


def cancel(stored: StoredRun, service: str) -> Change:
    """Stop for good: at once without an attempt, and otherwise when the attempt has stopped."""
    check_changeable(stored, service)
    if stored.run.state in states.WAITING:
        return _to(stored, _CANCELLED, "cancelled")
    return _request(stored, run_pb2.STOP_CANCEL)


def pause(stored: StoredRun, service: str) -> Change:
    """Pause: at once without an attempt, and otherwise at a snapshot of the attempt."""
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
    """Ask for another number of workers, now or when the run is launched."""
    check_changeable(stored, service)
    return Change(stored, [new_event(scaled=run_pb2.Scaled(workers=workers))])


def check_changeable(stored: StoredRun, service: str) -> None:
    """Check that the run has not ended and that the service looks after it."""
    if states.ended(stored.run):
        raise RunEndedError(stored.run.id, f"run {stored.run.id} has already ended")
    if stored.service != service:
        raise RunElsewhereError(
            stored.run.id,
            f"run {stored.run.id} belongs to another service on this run store; ask that one",
        )


# What runners report. All raise NotTheRunnerError.


def take(stored: StoredRun, attempt: int, token: str) -> Change:
    """Record that the runner of the attempt has started."""
    check_runner(stored, attempt, token)
    return _to(stored, _RUNNING) if stored.run.state == _LAUNCHING else Change(stored)


def report(
    stored: StoredRun, attempt: int, token: str, reports: Mapping[int, runner_pb2.RunReport]
) -> Change:
    """Apply what the runner reports, each report once however often it is sent.

    Args:
        reports: by their numbers, ascending.
    """
    check_last_runner(stored, attempt, token)
    fresh = [report for number, report in reports.items() if number > stored.reported]
    if not fresh or states.ended(stored.run):
        return Change(stored)
    check_runner(stored, attempt, token)
    events = [_reported(stored.run, report) for report in fresh]
    return Change(stored._replace(reported=max(reports)), events)


def _reported(run: run_pb2.Run, report: runner_pb2.RunReport) -> run_pb2.Event:
    """The event of a report; a runner that paused may have been asked for something else since."""
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
    """Check that this is the runner of an attempt that goes on."""
    check_last_runner(stored, attempt, token)
    if stored.run.state not in states.ACTIVE:
        raise NotTheRunnerError(stored.run.id, attempt)


def check_last_runner(stored: StoredRun, attempt: int, token: str) -> None:
    """Check that this is the runner of the last attempt, which may be over and still report."""
    known = stored.token.encode()
    if (
        stored.run.attempt != attempt
        or not known
        or not secrets.compare_digest(known, token.encode())
    ):
        raise NotTheRunnerError(stored.run.id, attempt)


# What the service does, and what it observes.


def launch(stored: StoredRun, service: str, token: str) -> Change:
    """Begin an attempt, whose reports are numbered from 1 and need the token."""
    if stored.service != service or stored.run.state != _QUEUED:
        return Change(stored)
    return _to(stored._replace(token=token, reported=0), _LAUNCHING)


def stop_before_launch(stored: StoredRun, attempt: int) -> Change:
    """End the attempt without a job if the run has been asked to stop meanwhile."""
    if not _goes_on(stored, attempt):
        return Change(stored)
    return _stopped(stored._replace(token=""), "paused before its job began") or Change(stored)


def preempt(stored: StoredRun, service: str, by: str) -> Change:
    """Ask the run to give way to another one, unless it stops anyway."""
    run = stored.run
    stops = run.preempted_by or run.stop_requested
    if stored.service != service or run.state != _RUNNING or stops:
        return Change(stored)
    return Change(stored, [new_event(preempted=run_pb2.Preempted(by=by))])


def break_off(stored: StoredRun, attempt: int, reason: str, again: str = GOES_ON) -> Change:
    """End an attempt without an outcome: queue the run again, up to FRUITLESS_ATTEMPTS times.

    Its runner, should it be alive, is refused from then on.

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
    """Cancel the run of an attempt that was to stop and did not do so in time."""
    if not _goes_on(stored, attempt) or stored.run.stop_requested != run_pb2.STOP_CANCEL:
        return Change(stored)
    return _to(stored, _CANCELLED, "cancelled")


def fail(stored: StoredRun, attempt: int, reason: str) -> Change:
    """Fail the run: another attempt would have the same outcome."""
    return _to(stored, _FAILED, reason) if _goes_on(stored, attempt) else Change(stored)


def warn(stored: StoredRun, attempt: int, message: str) -> Change:
    """Add a warning about the attempt."""
    if not _goes_on(stored, attempt):
        return Change(stored)
    return Change(stored, [new_event(warning=run_pb2.Warning(message=message))])


def adopt(stored: StoredRun, gone: str, service: str, over: bool) -> Change:
    """Take over a run whose service is gone.

    Args:
        over: the job of its attempt has ended. This does not count as a fruitless attempt.
    """
    if stored.service != gone:
        return Change(stored)
    stored = stored._replace(service=service)
    if not over or stored.run.state in states.WAITING | states.ENDED:
        return Change(stored)
    given_up, reason = stored._replace(token=""), "its service ended"
    return _stopped(given_up, reason) or _to(given_up, _QUEUED, f"{reason}; {GOES_ON}")


def end(stored: StoredRun, service: str, state: run_pb2.RunState, message: str) -> Change:
    """End the run in any state, because the command that it belonged to has ended."""
    return _to(stored, state, message) if stored.service == service else Change(stored)


def _goes_on(stored: StoredRun, attempt: int) -> bool:
    return stored.run.attempt == attempt and stored.run.state in states.ACTIVE


def _stopped(stored: StoredRun, reason: str) -> Change | None:
    """The change of a run that was asked to stop and whose attempt is over; None if it was not."""
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
