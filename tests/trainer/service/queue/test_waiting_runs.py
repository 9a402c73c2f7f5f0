"""The queue in the service: who starts, who gives way, and what clients hear of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sumgrad.trainer.cli.progress import follow
from sumgrad.trainer.cli.run_output import document as shown
from sumgrad.trainer.cli.verbs.list import print_table
from sumgrad.trainer.client import ClientError, QueueFullError
from sumgrad.trainer.service.cluster import attempts
from sumgrad.trainer.service.queue.waiting_runs import YIELD_SECONDS, WaitingRuns
from sumgrad.trainer.service.runs.stored_run import StoredRun
from sumgrad.trainer.spec.violations import InvalidSpecError
from sumgrad.trainer.v1 import run_pb2, runner_pb2, service_pb2

from support.services import PlayedRunner, RunningService, StartService, on_both_databases
from support.waiting import eventually

QUEUED = run_pb2.RUN_STATE_QUEUED
LAUNCHING = run_pb2.RUN_STATE_LAUNCHING
RUNNING = run_pb2.RUN_STATE_RUNNING
PAUSED = run_pb2.RUN_STATE_PAUSED
SUCCEEDED = run_pb2.RUN_STATE_SUCCEEDED

RESULT = run_pb2.Result(steps=46, epochs=2, accuracy=0.9, weights_digest="abc", workers=2)


def running(
    service: RunningService, document: dict[str, Any], **wishes: Any
) -> tuple[run_pb2.Run, PlayedRunner]:
    run = service.client.submit(document, **wishes)
    runner = service.next_runner()
    runner.take()
    return run, runner


def place(service: RunningService, run_id: str) -> run_pb2.QueueStatus:
    """Where the run stands, as soon as that was worked out."""

    def found() -> run_pb2.QueueStatus | None:
        run = service.client.get(run_id)
        return run.queue if run.HasField("queue") else None

    status = eventually(found)
    assert status is not None
    return status


# --- priorities and preemption ------------------------------------------------------------------


def test_a_higher_priority_starts_first(
    start_service: StartService, document: dict[str, Any]
) -> None:
    service = start_service(preemption=False)
    _, runner = running(service, document)
    low, high = (service.client.submit(document, priority=p) for p in (0, 1))
    eventually(lambda: place(service, high.id).position == 1)
    assert (place(service, low.id).position, place(service, low.id).reason) == (
        2,
        f"{high.id} is before it",
    )
    assert not runner.response_to().pause
    runner.report(finished=RESULT)
    assert service.launcher.next_launch().run_id == high.id


def test_a_run_that_gives_way_before_it_could_go_on_says_why_it_could_not(
    service: RunningService, document: dict[str, Any]
) -> None:
    low, runner = running(service, document)
    high = service.client.submit(document, priority=1)
    eventually(lambda: runner.response_to().pause)
    runner.report(paused=runner_pb2.Paused(reason="its snapshots cannot be read"))
    waiting = service.client.get(low.id)
    told = f"preempted by {high.id}: its snapshots cannot be read"
    assert (waiting.state, waiting.message) == (QUEUED, told)


@on_both_databases
def test_a_run_gives_way_to_a_higher_priority_and_goes_on_after_it(
    service: RunningService, document: dict[str, Any]
) -> None:
    low, runner = running(service, document)
    runner.report(progress=run_pb2.Progress(step=9, steps=46, seconds_left=20))
    high = service.client.submit(document, priority=1)
    eventually(lambda: runner.response_to().pause)
    assert service.client.get(low.id).preempted_by == high.id
    assert place(service, high.id).reason == "needs 2 CPUs, 0 free; others are stopping"
    runner.report(paused=runner_pb2.Paused(step=10))

    waiting = service.client.get(low.id)
    assert (waiting.state, waiting.message) == (QUEUED, f"preempted by {high.id} at step 10")
    assert (waiting.preempted_by, waiting.fruitless_attempts) == ("", 0)
    preemptor = service.next_runner()
    preemptor.take()
    assert not preemptor.response_to().pause
    preemptor.report(finished=RESULT)

    launch = service.launcher.next_launch()
    assert (launch.run_id, launch.attempt) == (low.id, 2)
    again = PlayedRunner(launch, service.channel)
    again.take()
    assert not again.response_to().pause
    again.report(finished=RESULT)
    assert [service.client.wait(run.id).state for run in (low, high)] == [SUCCEEDED] * 2
    kinds = [event.WhichOneof("kind") for event in service.client.events(low.id)]
    assert kinds.count("preempted") == 1


@pytest.mark.slow
def test_an_equal_priority_waits_and_preemption_may_be_off(
    start_service: StartService, document: dict[str, Any]
) -> None:
    service = start_service(preemption=False)
    _, runner = running(service, document)
    high = service.client.submit(document, priority=5)
    assert place(service, high.id).reason == "needs 2 CPUs, 0 free"
    assert not runner.response_to().pause
    service.stop()
    service = start_service()
    run, runner = running(service, document, priority=5)
    waiting = service.client.submit(document, priority=5)
    assert place(service, waiting.id).reason
    assert not runner.response_to().pause
    assert not service.client.get(run.id).preempted_by


def test_a_run_that_gives_way_and_was_paused_by_hand_stays_paused(
    service: RunningService, document: dict[str, Any]
) -> None:
    low, runner = running(service, document)
    service.client.submit(document, priority=1)
    eventually(lambda: runner.response_to().pause)
    service.client.pause(low.id)
    runner.report(paused=runner_pb2.Paused(step=10))
    assert service.client.get(low.id).state == PAUSED


def test_the_service_after_a_restart_still_knows_who_gives_way(
    start_service: StartService, document: dict[str, Any]
) -> None:
    first = start_service()
    low, runner = running(first, document)
    high = first.client.submit(document, priority=1)
    eventually(lambda: runner.response_to().pause)
    launched = set(first.launcher.jobs)
    first.stop()
    second = start_service(jobs=launched)
    moved = PlayedRunner(runner.launch, second.channel)
    moved.report(paused=runner_pb2.Paused(step=10))
    assert second.client.get(low.id).message == f"preempted by {high.id} at step 10"
    assert second.launcher.next_launch().run_id == high.id


# --- limits -------------------------------------------------------------------------------------


def test_a_user_at_a_limit_waits_and_hears_of_it(
    start_service: StartService, document: dict[str, Any]
) -> None:
    service = start_service(max_runs_per_user=1)
    _, runner = running(service, document, workers=1)
    second = service.client.submit(document, workers=1)
    assert place(service, second.id).reason == "its user has 1 of 1 runs"
    runner.report(finished=RESULT)
    assert service.launcher.next_launch().run_id == second.id


def test_a_run_that_would_never_start_is_refused(
    start_service: StartService, document: dict[str, Any]
) -> None:
    service = start_service(max_cpus_per_user=1)
    with pytest.raises(
        InvalidSpecError,
        match=r"^workers\.count: must be at most 1 here, the CPUs that one user may have, got 2",
    ):
        service.client.submit(document)
    assert service.client.list() == []
    run, _ = running(service, document, workers=1)
    with pytest.raises(ClientError, match="its user may have 1 CPUs"):
        service.client.scale(run.id, 2)


@pytest.mark.slow
def test_a_user_may_have_so_many_runs_queued_or_paused_and_no_more(
    start_service: StartService, document: dict[str, Any]
) -> None:
    first = start_service(max_waiting_per_user=2)
    _, runner = running(first, document)  # has all CPUs
    queued, paused = first.client.submit(document, request_id="one"), first.client.submit(document)
    first.client.pause(paused.id)
    known = {run.id for run in first.client.list()}
    with pytest.raises(QueueFullError, match="has 2 runs that are queued or paused") as caught:
        first.client.submit(document)
    assert caught.value.reason == "QUEUE_FULL"
    assert {run.id for run in first.client.list()} == known
    # What was taken is given back all the same, and what waits may go on waiting.
    assert first.client.submit(document, request_id="one").id == queued.id
    first.client.resume(paused.id)
    first.client.pause(paused.id)
    launched = set(first.launcher.jobs)
    first.stop()

    second = start_service(max_waiting_per_user=2, jobs=launched)
    with pytest.raises(QueueFullError):
        second.client.submit(document)
    second.client.cancel(queued.id)
    second.client.submit(document)
    with pytest.raises(QueueFullError):
        second.client.submit(document)
    second.client.cancel(paused.id)
    second.client.submit(document)
    PlayedRunner(runner.launch, second.channel).report(finished=RESULT)
    second.launcher.next_launch()
    second.client.submit(document)


# --- what clients hear --------------------------------------------------------------------------


@pytest.mark.slow
def test_a_watcher_hears_where_a_waiting_run_stands_when_that_changes(
    service: RunningService, document: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    _, runner = running(service, document)
    runner.report(progress=run_pb2.Progress(step=9, steps=46, seconds_left=600))
    before, run = service.client.submit(document), service.client.submit(document)
    eventually(lambda: place(service, run.id).position == 2)
    heard: list[service_pb2.WatchRunResponse] = []
    for response in service.client.watch(run.id):
        heard.append(response)
        if response.HasField("snapshot"):
            service.client.cancel(before.id)
        elif response.HasField("queue_status"):
            break
    assert heard[0].snapshot.run.queue.position == 2
    told = heard[-1].queue_status
    assert (told.position, told.reason) == (1, "needs 2 CPUs, 0 free")
    left = told.estimated_start.ToSeconds() - service.client.get(run.id).created.ToSeconds()
    assert 500 < left <= 601

    follow(heard)
    said = capsys.readouterr().err
    assert f"waits: position 2: {before.id} is before it\n" in said
    assert "waits: position 1: needs 2 CPUs, 0 free; starts in about 0:0" in said


def test_lists_show_where_waiting_runs_stand(
    service: RunningService, document: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    active, _ = running(service, document)
    waiting = service.client.submit(document)
    place(service, waiting.id)
    runs = service.client.list()
    print_table(runs)
    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading.split()[-1] == "waits"
    assert first.endswith("position 1: needs 2 CPUs, 0 free")
    assert active.id in second
    assert "position" not in second
    assert shown(runs[0])["queue"] == {
        "position": 1,
        "reason": "needs 2 CPUs, 0 free",
        "estimated_start": None,
    }
    assert shown(runs[1])["queue"] is None


def test_a_run_that_does_not_wait_has_no_place(
    service: RunningService, document: dict[str, Any]
) -> None:
    run, runner = running(service, document)
    assert not service.client.get(run.id).HasField("queue")
    runner.report(finished=RESULT)
    assert not service.client.wait(run.id).HasField("queue")


def test_the_queue_keeps_nothing_of_a_specification_and_nothing_of_a_run_that_has_ended() -> None:
    runs = waiting_runs(1)
    for number, state in enumerate((QUEUED, RUNNING, PAUSED), 1):
        runs.update(with_large_spec(number, state))
    assert [runs.waiting_of(owner) for owner in ("", "bob")] == [2, 0]
    kept = [entry.stored.run.ByteSize() for entry in runs._entries.values()]
    assert len(kept) == 2
    assert max(kept) < 100
    for number in (1, 2, 3):
        runs.update(with_large_spec(number, SUCCEEDED))
    assert runs.waiting_of("") == 0
    assert not runs._entries
    assert not runs.decide().places


def with_large_spec(number: int, state: run_pb2.RunState) -> StoredRun:
    run = run_pb2.Run(id=f"r{number}", state=state, workers=1, labels={"a": "x" * 200})
    run.spec.name = "x" * 100_000
    return StoredRun(number, run, "s", 0, 0, "")


def test_a_queue_that_missed_a_change_reads_its_runs_again(
    service: RunningService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "LOOK_UP_SECONDS", 0.05)
    _, runner = running(service, document)
    waiting = service.client.submit(document)
    place(service, waiting.id)

    async def forget() -> None:
        service.parts.runs.queue.forget_all()
        service.parts.runs.doubt_queue()

    service.loop.run(forget())
    eventually(lambda: service.client.get(waiting.id).HasField("queue"))
    runner.report(finished=RESULT)
    assert service.launcher.next_launch().run_id == waiting.id


# --- time ---------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def waiting_runs(cores: int, clock: Callable[[], float] | None = None) -> WaitingRuns:
    return WaitingRuns(cores, clock or Clock(), Clock())


def stored(run_id: str, number: int, state: run_pb2.RunState, **fields: Any) -> StoredRun:
    return StoredRun(
        number, run_pb2.Run(id=run_id, state=state, workers=1, **fields), "service", 1, 0, ""
    )


def test_a_run_that_does_not_stop_in_time_is_no_longer_counted_on() -> None:
    clock = Clock()
    runs = waiting_runs(2, clock)
    runs.update(stored("slow", 1, RUNNING))
    runs.update(stored("other", 2, RUNNING))
    runs.update(stored("high", 3, QUEUED, priority=1))
    assert runs.decide().preempt == {"other": "high"}
    runs.update(stored("other", 2, RUNNING, preempted_by="high"))
    assert runs.decide().preempt == {}
    clock.now += YIELD_SECONDS
    assert runs.decide().preempt == {}
    clock.now += 1
    assert runs.decide().preempt == {"slow": "high"}


def test_a_run_that_is_being_launched_is_not_told_to_stop() -> None:
    runs = waiting_runs(1)
    runs.update(stored("low", 1, LAUNCHING))
    runs.update(stored("high", 2, QUEUED, priority=1))
    assert runs.decide().preempt == {}
    runs.update(stored("low", 1, RUNNING))
    assert runs.decide().preempt == {"low": "high"}


def test_the_time_that_a_run_has_waited_is_told_when_it_is_launched() -> None:
    clock = Clock()
    runs = waiting_runs(1, clock)
    assert runs.update(stored("r", 1, QUEUED)) is None
    clock.now += 12
    assert runs.update(stored("r", 1, LAUNCHING)) == 12
    assert runs.update(stored("r", 1, RUNNING)) is None


def test_what_a_user_has_used_lately_counts_until_others_have_caught_up() -> None:
    clock = Clock()
    runs = waiting_runs(1, clock)
    runs.update(stored("a1", 1, RUNNING, owner="alice"))
    runs.update(stored("a2", 2, QUEUED, owner="alice"))
    runs.update(stored("b1", 3, QUEUED, owner="bob"))
    clock.now += 10
    runs.update(stored("a1", 1, SUCCEEDED, owner="alice"))
    assert runs.decide().start == ["b1"]
