"""A run's state where two things happen at once, or a service ends in between."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from sumgrad.trainer.client import NotPausedError, RunHandle
from sumgrad.trainer.service.cluster import attempt_policy
from sumgrad.trainer.service.cluster.launcher import JobState
from sumgrad.trainer.service.runs import transitions
from sumgrad.trainer.service.runs.stored_run import StoredRun
from sumgrad.trainer.service.store.run_store import RunStore
from sumgrad.trainer.v1 import run_pb2, runner_pb2

from support.services import PlayedRunner, RunningService, StartService, on_both_databases
from support.waiting import eventually

QUEUED = run_pb2.RUN_STATE_QUEUED
LAUNCHING = run_pb2.RUN_STATE_LAUNCHING
RUNNING = run_pb2.RUN_STATE_RUNNING
PAUSED = run_pb2.RUN_STATE_PAUSED
CANCELLED = run_pb2.RUN_STATE_CANCELLED

AT_3 = runner_pb2.Paused(step=3)
RESULT = run_pb2.Result(steps=46)


def running(service: RunningService, document: dict[str, Any]) -> tuple[RunHandle, PlayedRunner]:
    run = service.client.submit(document)
    runner = service.next_runner()
    runner.take()
    return run, runner


def refused(call: Callable[[], object]) -> bool:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return bool(caught.value.code() == grpc.StatusCode.PERMISSION_DENIED)


# --- a cancellation that was acknowledged -------------------------------------------------------


@on_both_databases
def test_a_run_that_is_cancelled_while_it_pauses_is_cancelled(
    service: RunningService, document: dict[str, Any]
) -> None:
    run, runner = running(service, document)
    run.pause()
    assert runner.response_to().pause
    run.cancel()
    runner.report(paused=AT_3)  # it was at its snapshot already
    assert run.refresh().state == CANCELLED


@on_both_databases
def test_a_run_that_is_cancelled_while_it_gives_way_is_cancelled(
    service: RunningService, document: dict[str, Any]
) -> None:
    run, runner = running(service, document)
    higher = service.client.submit(document, priority=5)
    eventually(lambda: run.refresh().preempted_by)
    assert runner.response_to().pause
    run.cancel()
    runner.report(paused=AT_3)
    assert run.refresh().state == CANCELLED
    assert service.launcher.next_launch().run_id == higher.id


def test_who_watches_hears_that_a_run_is_asked_to_stop(
    service: RunningService, document: dict[str, Any]
) -> None:
    run, runner = running(service, document)
    run.pause()
    run.pause()
    assert run.refresh().stop_requested == run_pb2.STOP_PAUSE
    run.cancel()
    assert run.refresh().stop_requested == run_pb2.STOP_CANCEL
    runner.report(cancelled=runner_pb2.Cancelled())
    assert run.refresh().stop_requested == run_pb2.STOP_UNSPECIFIED
    asked = [e.stop_requested.stop for e in run.events() if e.HasField("stop_requested")]
    assert asked == [run_pb2.STOP_PAUSE, run_pb2.STOP_CANCEL]


# --- two things at once -------------------------------------------------------------------------


@pytest.mark.slow
@on_both_databases
def test_a_run_that_is_paused_while_it_is_launched_is_either_paused_or_launched(
    service: RunningService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads the run first and changes it then finds it launched in between."""
    _, blocking = running(service, document)
    run = service.client.submit(document)
    assert run.info.state == QUEUED
    get, has_read = RunStore.get, threading.Event()

    def read_and_wait(store: RunStore, run_id: str) -> StoredRun | None:
        found = get(store, run_id)
        if threading.current_thread().name.startswith("store reader") and run_id == run.id:
            has_read.set()
            eventually(lambda: get(store, run_id).run.state != QUEUED)  # type: ignore[union-attr]
        return found

    monkeypatch.setattr(RunStore, "get", read_and_wait)
    with ThreadPoolExecutor(1) as pool:
        paused = pool.submit(run.pause)
        eventually(lambda: has_read.is_set() or paused.done())
        blocking.report(finished=RESULT)
        state = paused.result(30).state
    monkeypatch.setattr(RunStore, "get", get)
    following = service.client.submit(document)
    launch = service.launcher.next_launch()
    assert (state, launch.run_id) in [(PAUSED, following.id), (LAUNCHING, run.id)]
    if launch.run_id == run.id:
        assert PlayedRunner(launch, service.channel).response_to().pause


@on_both_databases
@pytest.mark.parametrize(("ask", "end"), [("pause", PAUSED), ("cancel", CANCELLED)])
def test_a_run_that_is_to_stop_before_its_job_has_begun_gets_none(
    service: RunningService, document: dict[str, Any], ask: str, end: run_pb2.RunState
) -> None:
    starts, go_on = threading.Event(), threading.Event()

    async def start() -> None:
        starts.set()
        assert await asyncio.to_thread(go_on.wait, 30)

    service.launcher.start = start  # type: ignore[method-assign]
    run = service.client.submit(document)
    assert starts.wait(30)
    assert getattr(run, ask)().state == LAUNCHING
    following = service.client.submit(document)
    go_on.set()
    assert service.launcher.next_launch().run_id == following.id
    assert run.refresh().state == end


def test_a_run_that_was_taken_over_before_its_job_has_begun_gets_none(
    service: RunningService, document: dict[str, Any], tmp_path: Path
) -> None:
    starts, go_on = threading.Event(), threading.Event()

    async def start() -> None:
        starts.set()
        assert await asyncio.to_thread(go_on.wait, 30)

    service.launcher.start = start  # type: ignore[method-assign]
    run = service.client.submit(document)
    assert starts.wait(30)
    store = RunStore(tmp_path / "state" / "runs.db")
    [(me, other)] = [(stored.service, "service-2") for stored in store.open_runs()]
    store.change(run.id, lambda now: transitions.adopt(now, me, other, True))
    store.close()
    following = service.client.submit(document)
    go_on.set()
    assert service.launcher.next_launch().run_id == following.id


@on_both_databases
def test_a_run_that_has_paused_while_ray_was_asked_about_its_runner_stays_paused(
    service: RunningService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_policy, "SILENCE_SECONDS", 0)
    run, runner = running(service, document)
    asked, answer = threading.Event(), threading.Event()

    async def state(_job: str) -> JobState:
        asked.set()
        assert await asyncio.to_thread(answer.wait, 30)
        return JobState.ENDED

    service.launcher.state = state  # type: ignore[method-assign]
    run.pause()
    assert runner.response_to().pause
    assert asked.wait(30)
    runner.report(paused=AT_3)
    following = service.client.submit(document)
    answer.set()
    assert service.launcher.next_launch().run_id == following.id
    paused = run.refresh()
    assert (paused.state, paused.message, paused.attempt) == (PAUSED, "paused at step 3", 1)


@on_both_databases
def test_of_two_who_resume_a_run_at_once_one_does(
    service: RunningService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, runner = running(service, document)
    run.pause()
    runner.report(paused=AT_3)
    get, together = RunStore.get, threading.Barrier(2)

    def read_together(store: RunStore, run_id: str) -> StoredRun | None:
        found = get(store, run_id)
        if threading.current_thread().name.startswith("store reader") and not together.broken:
            together.wait(30)
        return found

    async def resume_twice() -> list[object]:
        runs = service.parts.runs
        both = (runs.change(run.id, transitions.resume, runs.me) for _ in range(2))
        return list(await asyncio.gather(*both, return_exceptions=True))

    with monkeypatch.context() as patched:
        patched.setattr(RunStore, "get", read_together)
        outcomes = service.loop.run(resume_twice())
        together.abort()
    assert sorted(isinstance(outcome, Exception) for outcome in outcomes) == [False, True]
    with pytest.raises(NotPausedError):
        run.resume()
    assert service.launcher.next_launch().attempt == 2


# --- runners of runs that do not go on ----------------------------------------------------------


@on_both_databases
def test_the_runner_of_a_paused_run_changes_nothing_but_may_repeat_itself(
    service: RunningService, document: dict[str, Any]
) -> None:
    run, runner = running(service, document)
    run.pause()
    last = runner_pb2.RunReport(number=1, paused=AT_3)
    runner.send(last)
    assert runner.send(last)  # the answer was lost; it may stop
    assert refused(runner.take)
    late = runner_pb2.RunReport(number=2, finished=RESULT)
    assert refused(lambda: runner.send(late))
    assert run.refresh().state == PAUSED


@on_both_databases
def test_a_runner_that_was_given_up_is_refused_before_there_is_another(
    service: RunningService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, runner = running(service, document)
    run.pause()
    monkeypatch.setattr(attempt_policy, "LOST_SECONDS", 0)
    eventually(lambda: run.refresh().state == PAUSED)
    assert refused(runner.take)
    assert refused(runner.response_to)


def test_nothing_is_kept_in_mind_of_a_run_that_has_ended_though_its_runner_speaks(
    service: RunningService, document: dict[str, Any]
) -> None:
    run, runner = running(service, document)
    run.cancel()
    runner.report(cancelled=runner_pb2.Cancelled())
    assert runner.response_to().cancel
    policy = service.parts.attempts._policy
    eventually(lambda: not policy.statuses)


# --- services that end in between ---------------------------------------------------------------


@on_both_databases
@pytest.mark.parametrize("ask", ["cancel", "pause"])
def test_a_wish_is_told_to_the_runner_by_the_next_service(
    start_service: StartService, document: dict[str, Any], ask: str
) -> None:
    before = start_service()
    run, runner = running(before, document)
    getattr(before.client, ask)(run.id)
    before.stop()
    after = start_service(jobs=[runner.launch.job])
    wishes = PlayedRunner(runner.launch, after.channel).response_to()
    assert (wishes.cancel, wishes.pause) == (ask == "cancel", ask == "pause")


@on_both_databases
@pytest.mark.parametrize(("ask", "end"), [("cancel", CANCELLED), ("pause", PAUSED)])
def test_a_wish_is_granted_by_the_next_service_where_the_job_has_ended_too(
    start_service: StartService, document: dict[str, Any], ask: str, end: run_pb2.RunState
) -> None:
    before = start_service()
    run, _ = running(before, document)
    getattr(before.client, ask)(run.id)
    following = before.client.submit(document)
    before.stop()
    after = start_service()
    assert after.client.get(run.id).state == end
    assert after.launcher.next_launch().run_id == following.id


@pytest.mark.slow
def test_a_runner_that_does_not_stop_for_the_next_service_has_its_job_ended(
    start_service: StartService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = start_service()
    run, runner = running(before, document)
    before.client.cancel(run.id)
    before.stop()
    monkeypatch.setattr(attempt_policy, "CANCEL_SECONDS", 0)
    after = start_service(jobs=[runner.launch.job])
    assert after.launcher.stopped.get(timeout=30) == runner.launch.job
    assert after.client.wait(run.id).state == CANCELLED
