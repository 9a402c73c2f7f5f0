"""A run is the sum of its events."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from sumgrad.trainer.record import history, states
from sumgrad.trainer.v1 import run_pb2

QUEUED = run_pb2.RUN_STATE_QUEUED
LAUNCHING = run_pb2.RUN_STATE_LAUNCHING
RUNNING = run_pb2.RUN_STATE_RUNNING
SUCCEEDED = run_pb2.RUN_STATE_SUCCEEDED
FAILED = run_pb2.RUN_STATE_FAILED
CANCELLED = run_pb2.RUN_STATE_CANCELLED

PROGRESS = run_pb2.Progress(step=3, steps=10, e_in=0.5)
RESULT = run_pb2.Result(steps=10, weights_digest="abc")
CHANGES = {
    "queued": run_pb2.Event(state_change=run_pb2.StateChange(state=QUEUED)),
    "progress": run_pb2.Event(progress=PROGRESS),
    "epoch": run_pb2.Event(epoch=run_pb2.Epoch(epoch=1)),
    "warning": run_pb2.Event(warning=run_pb2.Warning(message="late")),
    "failed": run_pb2.Event(state_change=run_pb2.StateChange(state=FAILED, message="late")),
}


def change(state: run_pb2.RunState, seconds: int = 0, message: str = "") -> run_pb2.Event:
    return run_pb2.Event(
        time=Timestamp(seconds=seconds),
        state_change=run_pb2.StateChange(state=state, message=message),
    )


def after(*events: run_pb2.Event) -> run_pb2.Run:
    run = run_pb2.Run(id="r-1")
    for event in events:
        assert history.apply(run, event)
    return run


def test_a_run_is_in_the_state_of_its_last_change_and_says_why() -> None:
    run = after(change(QUEUED), change(LAUNCHING), change(FAILED, message="no room"))
    assert (run.state, run.message) == (FAILED, "no room")


def test_the_reason_of_a_state_goes_with_it() -> None:
    assert after(change(QUEUED, message="again"), change(LAUNCHING)).message == ""


def test_started_and_ended_are_the_times_of_their_events() -> None:
    run = after(change(QUEUED, 1), change(LAUNCHING, 2), change(RUNNING, 3), change(SUCCEEDED, 4))
    assert (run.started.seconds, run.ended.seconds) == (3, 4)


def test_a_run_that_goes_on_has_no_end() -> None:
    run = after(change(QUEUED, 1), change(LAUNCHING, 2), change(RUNNING, 3))
    assert not run.HasField("ended")
    assert not states.ended(run)


def test_every_launch_is_an_attempt_and_starts_without_progress() -> None:
    progress = run_pb2.Event(progress=PROGRESS)
    run = after(change(LAUNCHING), change(RUNNING), progress, change(QUEUED), change(LAUNCHING))
    assert run.attempt == 2
    assert not run.HasField("progress")


def test_progress_replaces_what_was_there() -> None:
    run = after(
        run_pb2.Event(progress=run_pb2.Progress(step=1, accuracy=0.5)),
        run_pb2.Event(progress=PROGRESS),
    )
    assert run.progress == PROGRESS


def test_warnings_add_up() -> None:
    run = after(*(run_pb2.Event(warning=run_pb2.Warning(message=text)) for text in "ab"))
    assert list(run.warnings) == ["a", "b"]


def test_a_run_shows_its_newest_hundred_warnings() -> None:
    texts = [str(number) for number in range(250)]
    run = after(*(run_pb2.Event(warning=run_pb2.Warning(message=text)) for text in texts))
    assert list(run.warnings) == texts[150:]


def test_what_dispatches_count_adds_up_over_attempts() -> None:
    counts = [
        run_pb2.DispatchCounts(stale_answers=1, copies=2),
        run_pb2.DispatchCounts(copies=3, dropped_copies=4),
        run_pb2.DispatchCounts(expelled=1),
    ]
    run = run_pb2.Run(id="r-1")
    for count in counts:
        for event in (change(LAUNCHING), change(RUNNING), run_pb2.Event(dispatch=count)):
            assert history.apply(run, event)
    assert run.attempt == 3
    assert run.dispatch == run_pb2.DispatchCounts(
        stale_answers=1, copies=5, dropped_copies=4, expelled=1
    )


def test_counts_that_no_field_can_hold_stay_at_the_highest() -> None:
    event = run_pb2.Event(dispatch=run_pb2.DispatchCounts(copies=2**64 - 2))
    assert after(event, event).dispatch.copies == 2**64 - 1


def test_an_epoch_and_an_event_of_no_kind_change_nothing() -> None:
    assert after(run_pb2.Event(epoch=run_pb2.Epoch(epoch=1)), run_pb2.Event()) == run_pb2.Run(
        id="r-1"
    )


def test_the_result_comes_with_success() -> None:
    event = change(SUCCEEDED)
    event.state_change.result.CopyFrom(RESULT)
    assert after(event).result == RESULT


@pytest.mark.parametrize("end", [SUCCEEDED, FAILED, CANCELLED])
@pytest.mark.parametrize("event", CHANGES.values(), ids=CHANGES)
def test_nothing_happens_to_a_run_that_has_ended(
    end: run_pb2.RunState, event: run_pb2.Event
) -> None:
    run = after(change(RUNNING), change(end, 5, "over"))
    before = run_pb2.Run()
    before.CopyFrom(run)
    assert states.ended(run)
    assert not history.apply(run, event)
    assert run == before


def test_every_state_is_waiting_active_or_ended() -> None:
    kinds = [states.WAITING, states.ACTIVE, states.ENDED]
    every = set(run_pb2.RunState.values()) - {run_pb2.RUN_STATE_UNSPECIFIED}
    assert every == frozenset().union(*kinds)
    assert sum(map(len, kinds)) == len(every)


def progress(step: int) -> run_pb2.Event:
    return run_pb2.Event(progress=run_pb2.Progress(step=step, steps=100))


def attempts(*furthest: int) -> run_pb2.Run:
    """A run that is launched once more after attempts that came so far."""
    events = [change(LAUNCHING)]
    for step in furthest:
        events += [progress(step), change(QUEUED), change(LAUNCHING)]
    return after(*events)


@pytest.mark.parametrize(
    ("furthest", "fruitless"),
    [
        ((), 0),
        ((0,), 1),
        ((5,), 0),
        ((5, 5), 1),
        ((5, 4, 5), 2),
        ((5, 4, 6), 0),
        ((5, 5, 6, 6, 2), 2),
    ],
)
def test_an_attempt_is_fruitless_if_none_before_it_came_less_far(
    furthest: tuple[int, ...], fruitless: int
) -> None:
    run = attempts(*furthest)
    assert run.fruitless_attempts == fruitless
    assert run.furthest_step == max(furthest, default=0)
    assert run.attempt == len(furthest) + 1


def test_an_attempt_that_was_paused_is_held_against_no_run() -> None:
    events = [change(LAUNCHING)]
    for _ in range(9):
        events += [change(run_pb2.RUN_STATE_PAUSED), change(QUEUED), change(LAUNCHING)]
    assert after(*events).fruitless_attempts <= 1


def test_a_run_counts_its_restarts_and_knows_its_last_snapshot_and_its_workers() -> None:
    again = run_pb2.Event(restarted=run_pb2.Restarted(reason="killed"))
    taken = [run_pb2.Event(snapshot_taken=run_pb2.SnapshotTaken(step=step)) for step in (4, 8)]
    run = after(again, *taken, again, run_pb2.Event(scaled=run_pb2.Scaled(workers=3)))
    assert (run.restarts, run.snapshot_step, run.workers) == (2, 8, 3)


def test_a_paused_run_has_not_ended() -> None:
    run = after(change(RUNNING), change(run_pb2.RUN_STATE_PAUSED, message="paused at step 4"))
    assert (run.message, states.ended(run)) == ("paused at step 4", False)
    assert not run.HasField("ended")


PREEMPTED = run_pb2.Event(preempted=run_pb2.Preempted(by="r-2"))


def test_a_run_that_gives_way_says_for_whom_until_it_has() -> None:
    running = (change(QUEUED), change(LAUNCHING), change(RUNNING), PREEMPTED)
    assert after(*running).preempted_by == "r-2"
    assert after(*running, change(QUEUED)).preempted_by == ""
    done = after(*running, change(SUCCEEDED, 9))
    assert (done.preempted_by, done.ended.seconds) == ("", 9)


def test_giving_way_is_no_fruitless_attempt() -> None:
    run = after(change(QUEUED))
    for _ in range(10):
        for event in (change(LAUNCHING), change(RUNNING), PREEMPTED, change(QUEUED)):
            assert history.apply(run, event)
    assert (run.attempt, run.fruitless_attempts) == (10, 0)


def stop_requested(stop: run_pb2.Stop) -> run_pb2.Event:
    return run_pb2.Event(stop_requested=run_pb2.StopRequested(stop=stop))


def test_a_wish_to_stop_lasts_as_long_as_the_attempt_and_to_cancel_outdoes_to_pause() -> None:
    pause, cancel = map(stop_requested, (run_pb2.STOP_PAUSE, run_pb2.STOP_CANCEL))
    running = (change(QUEUED), change(LAUNCHING))
    assert after(*running, pause, change(RUNNING)).stop_requested == run_pb2.STOP_PAUSE
    assert after(*running, cancel, pause).stop_requested == run_pb2.STOP_CANCEL
    for state in (QUEUED, run_pb2.RUN_STATE_PAUSED, CANCELLED, SUCCEEDED):
        assert not after(*running, pause, change(state)).stop_requested
