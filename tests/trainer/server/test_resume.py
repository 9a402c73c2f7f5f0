"""A run that was interrupted goes on from its last snapshot and ends with the same bits."""

from __future__ import annotations

import dataclasses
import errno
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from threadpoolctl import threadpool_limits

from sumgrad.layers import Affine, AffineReLU, Flatten
from sumgrad.trainer.arithmetic.update_rules import UPDATE_RULES, Descent
from sumgrad.trainer.server.rounds.membership import RUNNER
from sumgrad.trainer.server.rounds.rounds import PING_SECONDS, Rounds
from sumgrad.trainer.server.saving.snapshot_keeper import SnapshotPlan
from sumgrad.trainer.server.training_plan import TrainingPlan
from sumgrad.trainer.snapshots.background_writer import BackgroundWriter
from sumgrad.trainer.snapshots.local_folder import LocalFolder
from sumgrad.trainer.snapshots.snapshot import Snapshot
from sumgrad.trainer.snapshots.snapshot_store import SnapshotStore
from sumgrad.trainer.v1 import run_pb2, runner_pb2
from sumgrad.workers.channel import ServerAddress, connect
from sumgrad.workers.drills.drill import Fault, FaultPlan, Point
from sumgrad.workers.serving import SILENCE_SECONDS, work

from support.drilled_processes import PROCESSES, assert_ended_by, fired, process
from support.interrupted import EVERY, PLANS, in_folder, interrupt, resumed_at, run_to_end, warnings
from support.leftovers import nothing_left_behind
from support.server_process import PromptWriter, serve_with_prompt_snapshots
from support.training import (
    PLAN,
    SECONDS,
    answer_truly,
    assert_stopped,
    played,
    running,
    task_of,
    train,
    word_to,
)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # of processes that a test starts
    monkeypatch.setattr(
        "sumgrad.trainer.server.saving.snapshot_keeper.BackgroundWriter", PromptWriter
    )
    with threadpool_limits(1), nothing_left_behind():
        yield


@pytest.fixture
def plan(tmp_path: Path) -> TrainingPlan:
    return in_folder(PLAN, tmp_path)


Course = tuple[list[run_pb2.Epoch], int, run_pb2.Result]


def course(reports: list[runner_pb2.RunReport]) -> Course:
    """What of a run may not depend on interruptions: epochs, rows read, result."""
    epochs = [r.epoch for r in reports if r.WhichOneof("kind") == "epoch"]
    result = run_pb2.Result()
    result.CopyFrom(reports[-1].finished)
    progress = [r.progress for r in reports if r.WhichOneof("kind") == "progress"][-1]
    # Only the last step of the whole length is sure to be reported.
    samples = 0 if result.stopped_early else progress.samples
    for name in ("samples_per_second", "workers", "weights_path"):
        result.ClearField(name)
    return epochs, samples, result


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Course]:
    """Each plan without snapshots."""
    with threadpool_limits(1):
        return {
            name: course(
                run_to_end(
                    dataclasses.replace(
                        plan, weights_path=tmp_path_factory.mktemp(name) / "w.safetensors"
                    ),
                    1,
                )
            )
            for name, plan in PLANS.items()
        }


# In step k the server has done k − 1 steps: before the first snapshot, at one, between two, at and
# after the end of an epoch.
STEPS_OF_CRASH = [1, 2, 5, 8, 12, 13, 14, 24, 25]


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS_OF_CRASH)
@pytest.mark.parametrize("name", PLANS)
def test_an_interrupted_run_ends_with_the_same_bits(
    name: str, step: int, tmp_path: Path, undisturbed: dict[str, Course]
) -> None:
    plan = in_folder(PLANS[name], tmp_path)
    interrupt(plan, step, workers=2)
    reports = run_to_end(plan, 1 + step % 3)
    snapshot = (step - 1) // EVERY * EVERY
    assert resumed_at(reports) == ([snapshot] if snapshot else [])
    epochs, samples, result = course(reports)
    assert (epochs, samples, result) == (
        undisturbed[name][0][snapshot // 12 :],
        *undisturbed[name][1:],
    )


def test_the_plans_show_something(undisturbed: dict[str, Course]) -> None:
    assert len({result.weights_digest for _, _, result in undisturbed.values()}) == len(PLANS)
    result = undisturbed["plateau"][2]
    assert result.stopped_early
    assert 1 <= result.best_epoch < result.epochs
    assert result.steps > max(STEPS_OF_CRASH)


@pytest.mark.slow
@pytest.mark.parametrize("rule", sorted(UPDATE_RULES))
def test_every_rule_goes_on_where_it_was(rule: str, plan: TrainingPlan, tmp_path: Path) -> None:
    descent = Descent(UPDATE_RULES[rule](learning_rate=0.01))  # type: ignore[call-arg]
    plan = dataclasses.replace(plan, descent=descent)
    expected = train(
        dataclasses.replace(plan, snapshots=None, weights_path=tmp_path / "other" / "w.safetensors")
    )
    interrupt(plan, 11, workers=1)
    reports = run_to_end(plan, 2)
    assert resumed_at(reports) == [8]
    assert reports[-1].finished.weights_digest == expected.weights_digest


@pytest.mark.slow
@pytest.mark.parametrize("point", ["gathered", "applying", "applied"])
def test_a_run_may_be_interrupted_again_and_again(
    point: Point, tmp_path: Path, undisturbed: dict[str, Course]
) -> None:
    plan = in_folder(PLANS["adam"], tmp_path)
    for step, workers in ((6, 1), (7, 2), (13, 3), (22, 1)):
        interrupt(plan, step, workers, point)
    reports = run_to_end(plan, 2)
    assert resumed_at(reports) == [20]
    assert course(reports)[2] == undisturbed["adam"][2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "step", "resumed"), [("applying", 15, 12), ("applied", 9, 8), ("snapshot", 12, 8)]
)
def test_a_server_that_is_killed_is_resumed(
    point: Point, step: int, resumed: int, tmp_path: Path, undisturbed: dict[str, Course]
) -> None:
    plan = in_folder(PLANS["momentum"], tmp_path)
    fault = Fault("server", step, point, "kill")
    killed = dataclasses.replace(plan, faults=FaultPlan((fault,), 1, tmp_path / "faults.jsonl"))
    ours, theirs = PROCESSES.Pipe()
    with ours, theirs, process(serve_with_prompt_snapshots, killed, theirs) as server:
        assert ours.poll(SECONDS)
        address: ServerAddress = ours.recv()
        runner = connect(address, RUNNER, address.local)
        runner.send(runner_pb2.Command().SerializeToString())
        with process(work, plan.job, address, "w"):
            assert_ended_by(server, "kill")
        runner.close(linger=0)
    reports = run_to_end(plan, 3)
    assert resumed_at(reports) == [resumed]
    assert course(reports)[2] == undisturbed["momentum"][2]


@pytest.mark.slow
def test_a_server_that_is_killed_together_with_a_worker_is_resumed(
    tmp_path: Path, undisturbed: dict[str, Course]
) -> None:
    plan = in_folder(PLANS["momentum"], tmp_path)
    faults = (Fault("worker-0", 15, "answer", "kill"), Fault("server", 15, "gathered", "kill"))
    killed = dataclasses.replace(
        plan, workers=2, faults=FaultPlan(faults, 1, tmp_path / "faults.jsonl")
    )
    ours, theirs = PROCESSES.Pipe()
    with ours, theirs, process(serve_with_prompt_snapshots, killed, theirs) as server:
        assert ours.poll(SECONDS)
        address: ServerAddress = ours.recv()
        runner = connect(address, RUNNER, address.local)
        runner.send(runner_pb2.Command().SerializeToString())
        arguments = (plan.job, address, "worker-0", "memory", killed.faults)
        with process(work, *arguments) as first, process(work, plan.job, address, "worker-1"):
            assert_ended_by(first, "kill")
            assert_ended_by(server, "kill")
        runner.close(linger=0)
    assert [one[0] for one in fired(killed.faults)] == ["worker-0", "server"]
    reports = run_to_end(plan, 3)
    assert resumed_at(reports) == [12]
    assert course(reports)[1:] == undisturbed["momentum"][1:]


def test_snapshots_are_reported_and_at_most_two_are_kept(plan: TrainingPlan) -> None:
    reports = run_to_end(plan, 1)
    taken = [r.snapshot_taken for r in reports if r.WhichOneof("kind") == "snapshot_taken"]
    assert [one.step for one in taken] == [4, 8, 12]
    assert all(one.seconds > 0 and one.bytes > 0 for one in taken)
    assert plan.snapshots is not None
    assert SnapshotStore(plan.snapshots.location, 2).steps() == [8, 12]


@pytest.mark.slow
def test_a_snapshot_is_due_when_its_time_has_passed(plan: TrainingPlan, tmp_path: Path) -> None:
    snapshots = SnapshotPlan(str(tmp_path / "snapshots"), "a digest", every_seconds=2.0)
    plan = dataclasses.replace(plan, snapshots=snapshots)
    with running(plan, "w") as run, played(run, "w") as worker:
        answer_truly(worker, task_of(worker))
        task = task_of(worker)
        run.pass_time(1.5)
        answer_truly(worker, task)
        task = task_of(worker)
        run.pass_time(0.5)
        answer_truly(worker, task)
        task_of(worker)
        run.start("other")
        run.lose("w")
        reports = run.reports()
        run.workers[0].end()
    taken = [r.snapshot_taken for r in reports if r.WhichOneof("kind") == "snapshot_taken"]
    assert [one.step for one in taken] == [3]


# Pauses.


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 4, 12], ids=lambda step: f"after-step-{step}")
def test_a_paused_run_goes_on_from_the_very_step(
    step: int, tmp_path: Path, undisturbed: dict[str, Course]
) -> None:
    plan = in_folder(PLANS["momentum"], tmp_path, every_steps=None)
    with running(plan, "w") as run, played(run, "w") as worker:
        for _ in range(step - 1):
            answer_truly(worker, task_of(worker))
        task = task_of(worker)
        pause(run)
        message = worker.receive(SECONDS)
        assert message is not None
        assert message.WhichOneof("kind") == "ping"
        answer_truly(worker, task)
        if step == 12:
            answer_truly(worker, task_of(worker))  # the evaluation of an epoch
        reports = run.reports()
        assert_stopped(worker)
    assert reports[-1].paused == runner_pb2.Paused(step=step)
    taken = [r.snapshot_taken.step for r in reports if r.WhichOneof("kind") == "snapshot_taken"]
    assert taken == [step]
    reports = run_to_end(plan, 3)
    assert resumed_at(reports) == [step]
    assert course(reports)[2] == undisturbed["momentum"][2]


def pause(run: Any) -> None:
    """Ask for a pause; the ping that follows tells that the server has heard of it."""
    run.command(runner_pb2.Command(pause=runner_pb2.Pause()))
    run.pass_time(5.0)


def test_a_run_may_be_paused_before_any_worker_has_come(plan: TrainingPlan) -> None:
    with running(plan, "w", "other") as run:
        run.command(runner_pb2.Command(pause=runner_pb2.Pause()))
        assert run.reports()[-1].paused == runner_pb2.Paused(step=0)
    assert resumed_at(run_to_end(plan, 1)) == [0]


def test_a_run_may_be_cancelled_before_any_worker_has_come(plan: TrainingPlan) -> None:
    with running(plan, "w", "other") as run:
        run.cancel()
        assert run.reports()[-1].WhichOneof("kind") == "cancelled"


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["before the pause", "after it", "at an evaluation"])
def test_a_pause_in_a_round_that_nobody_computes_goes_back_to_the_last_snapshot(
    loss: str, tmp_path: Path, undisturbed: dict[str, Course]
) -> None:
    plan = in_folder(PLANS["momentum"], tmp_path)
    asked = runner_pb2.Command(pause=runner_pb2.Pause())
    steps = 12 if loss == "at an evaluation" else 6
    with running(plan, "w") as run, played(run, "w") as worker:
        for _ in range(steps):
            answer_truly(worker, task_of(worker))
        task = task_of(worker)
        assert task.HasField("evaluation") == (steps == 12)
        if loss == "after it":
            run.command(asked)
        run.lose("w")
        if loss != "after it":
            run.command(asked)
        reports = run.reports()
    snapshot = (steps - 1) // EVERY * EVERY
    assert reports[-1].paused == runner_pb2.Paused(step=snapshot)
    reports = run_to_end(plan, 2)
    assert resumed_at(reports) == [snapshot]
    assert course(reports)[2] == undisturbed["momentum"][2]


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


class Disk:
    """What stands in for LocalFolder.write: full until there is room.

    Attributes:
        refused: files that were not written.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.full, self.refused = True, 0
        write = LocalFolder.write

        def write_or_refuse(folder: LocalFolder, name: str, pieces: Any) -> None:
            if self.full:
                self.refused += 1
                full_disk()
            write(folder, name, pieces)

        patch.setattr(LocalFolder, "write", write_or_refuse)


@pytest.mark.slow
def test_a_pause_that_cannot_be_saved_waits_for_room_while_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, Course]
) -> None:
    plan = in_folder(PLANS["momentum"], tmp_path, every_steps=None)
    disk = Disk(monkeypatch)
    with running(plan, "w") as run, played(run, "w") as worker:
        task = task_of(worker)
        pause(run)
        for refused, seconds in ((1, 0.0), (1, 9.9), (2, 0.1), (2, 0.0)):
            run.pass_time(seconds)
            answer_truly(worker, task)
            task = task_of(worker)  # the next step
            assert disk.refused == refused
        disk.full = False
        run.pass_time(10.0)
        answer_truly(worker, task)
        reports = run.reports()
        assert_stopped(worker)
    assert reports[-1].paused == runner_pb2.Paused(step=5)
    told = warnings(reports)
    assert [one.partition("): ")[0] for one in told] == [
        f"the run cannot be paused yet, and tries again every 10 s (failures in a row: {n}"
        for n in (1, 2)
    ]
    assert all("No space left on device" in one for one in told)
    reports = run_to_end(plan, 3)
    assert resumed_at(reports) == [5]
    assert course(reports)[2] == undisturbed["momentum"][2]


@pytest.mark.slow
def test_a_run_that_cannot_be_paused_can_be_cancelled_and_can_end(
    plan: TrainingPlan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = train(dataclasses.replace(plan, snapshots=None))
    disk = Disk(monkeypatch)
    with running(plan, "w") as run, played(run, "w") as worker:
        run.command(runner_pb2.Command(pause=runner_pb2.Pause()))
        answer_truly(worker, task_of(worker))
        task_of(worker)
        assert disk.refused == 1
        run.cancel()
        assert run.reports()[-1].WhichOneof("kind") == "cancelled"
    with running(in_folder(plan, tmp_path / "other", None), "w") as run:
        run.command(runner_pb2.Command(pause=runner_pb2.Pause()))
        run.start("w")
        assert run.finish().weights_digest == expected.weights_digest


@pytest.mark.slow
def test_a_pause_that_takes_long_to_save_does_not_hold_the_run_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, Course]
) -> None:
    plan = in_folder(PLANS["momentum"], tmp_path, every_steps=None)
    monkeypatch.setattr(
        "sumgrad.trainer.server.saving.snapshot_keeper.BackgroundWriter", BackgroundWriter
    )
    save, begun, go_on, saved = SnapshotStore.save, Event(), Event(), Event()
    waiting = Event()

    def save_late(store: SnapshotStore, snapshot: Snapshot) -> None:
        begun.set()
        assert go_on.wait(SECONDS)
        save(store, snapshot)
        saved.set()

    attend = Rounds.attend

    def attend_seen(rounds: Rounds, done: Callable[[], bool], seconds: float) -> bool:
        """The time that it may take counts from before ``done`` is asked."""

        def asked() -> bool:
            if begun.is_set():
                waiting.set()
            return done()

        return attend(rounds, asked, seconds)

    monkeypatch.setattr(SnapshotStore, "save", save_late)
    monkeypatch.setattr(Rounds, "attend", attend_seen)
    with running(plan, "w") as run, played(run, "w") as worker:
        task = task_of(worker)
        pause(run)
        answer_truly(worker, task)
        assert begun.wait(SECONDS)
        assert waiting.wait(SECONDS)
        run.pass_time(30.0)
        answer_truly(worker, task_of(worker))
        go_on.set()
        assert saved.wait(SECONDS)
        while (message := word_to(worker)).WhichOneof("kind") == "task":
            answer_truly(worker, message.task)
        reports = run.reports()
    assert reports[-1].paused == runner_pb2.Paused(step=1)
    [warning] = warnings(reports)
    assert warning.startswith("the snapshot of step 1 has not been saved in 30 s in ")
    reports = run_to_end(plan, 1)
    assert resumed_at(reports) == [1]
    assert course(reports)[2] == undisturbed["momentum"][2]


@pytest.mark.slow
def test_a_run_is_paused_where_old_snapshots_cannot_be_deleted(
    plan: TrainingPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: LocalFolder, names: Sequence[str]) -> None:
        if names:
            raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(LocalFolder, "delete", refuse)
    assert plan.snapshots is not None
    plan = dataclasses.replace(plan, snapshots=dataclasses.replace(plan.snapshots, keep=1))
    with running(plan, "w") as run, played(run, "w") as worker:
        for _ in range(EVERY):
            answer_truly(worker, task_of(worker))
        task = task_of(worker)
        pause(run)
        answer_truly(worker, task)
        reports = run.reports()
    assert reports[-1].paused == runner_pb2.Paused(step=EVERY + 1)
    [warning] = warnings(reports)
    assert warning.startswith("old snapshots take up room (failures in a row: 1): The snapshot of")


def test_a_run_without_snapshots_cannot_be_paused(plan: TrainingPlan) -> None:
    with running(dataclasses.replace(plan, snapshots=None), "w") as run:
        run.command(runner_pb2.Command(pause=runner_pb2.Pause()))
        assert run.fail() == "the run keeps no snapshots, so it cannot be paused"


# What goes wrong with snapshots.


@pytest.mark.slow
def test_training_goes_on_with_a_full_disk_and_says_that_there_is_no_fresh_snapshot(
    plan: TrainingPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train(dataclasses.replace(plan, snapshots=None))
    with monkeypatch.context() as patched:
        patched.setattr(LocalFolder, "write", full_disk)
        reports = run_to_end(in_folder(plan, tmp_path, every_steps=1), 1)
    assert reports[-1].finished.weights_digest == expected.weights_digest
    told = warnings(reports)
    assert [one.partition("): ")[0] for one in told] == [
        f"there is no fresh snapshot (failures in a row: {n}" for n in (1, 2, 4, 8)
    ]
    assert all("No space left on device" in one for one in told)


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_one_write_costs_a_run_no_more_than_a_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, Course]
) -> None:
    write, written, full_at = os.write, 0, 0

    def one_fails(descriptor: int, content: Any) -> int:
        nonlocal written
        written += 1
        if written == full_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, content)

    monkeypatch.setattr(os, "write", one_fails)

    def train_with_a_disk_full_at(n: int) -> list[runner_pb2.RunReport]:
        nonlocal written, full_at
        written, full_at = 0, n
        return run_to_end(in_folder(PLANS["momentum"], tmp_path / str(n)), 1)

    train_with_a_disk_full_at(0)
    count = written
    assert count > 12, "six snapshots are two files each"
    for n in range(1, count + 1):
        reports = train_with_a_disk_full_at(n)
        [warning] = warnings(reports)
        assert warning.startswith("there is no fresh snapshot (failures in a row: 1): ")
        assert "No space left on device" in warning
        assert course(reports)[1:] == undisturbed["momentum"][1:]


def test_a_fault_while_a_snapshot_is_written_costs_only_the_snapshot(plan: TrainingPlan) -> None:
    journal = plan.weights_path.parent / "faults.jsonl"
    faults = FaultPlan((Fault("server", 8, "snapshot", "raise"),), 1, journal)
    reports = run_to_end(dataclasses.replace(plan, faults=faults), 1)
    assert journal.exists()
    taken = [r.snapshot_taken.step for r in reports if r.WhichOneof("kind") == "snapshot_taken"]
    assert taken == [4, 12]
    [warning] = warnings(reports)
    assert "the drill has server fail in step 8, point snapshot" in warning


@pytest.mark.slow
def test_a_damaged_snapshot_is_passed_over_with_a_warning(plan: TrainingPlan) -> None:
    expected = train(dataclasses.replace(plan, snapshots=None))
    interrupt(plan, 11, workers=1)
    assert plan.snapshots is not None
    [newest] = Path(plan.snapshots.location).glob("step-000000000008-*.safetensors")
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    reports = run_to_end(plan, 2)
    assert resumed_at(reports) == [4]
    [warning] = warnings(reports)
    assert newest.stem in warning
    assert reports[-1].finished.weights_digest == expected.weights_digest


@pytest.mark.slow
def test_a_snapshot_of_another_specification_is_not_used(plan: TrainingPlan) -> None:
    expected = train(dataclasses.replace(plan, snapshots=None))
    interrupt(plan, 11, workers=1)
    assert plan.snapshots is not None
    other = dataclasses.replace(plan, snapshots=dataclasses.replace(plan.snapshots, spec="other"))
    reports = run_to_end(other, 1)
    assert resumed_at(reports) == []
    assert reports[-1].finished.weights_digest == expected.weights_digest


class Place:
    """What stands in for reading a local folder: out of reach until it is back."""

    def __init__(self, patch: pytest.MonkeyPatch, method: str) -> None:
        self.gone = True
        read = getattr(LocalFolder, method)

        def read_or_not(folder: LocalFolder, *name: str) -> Any:
            if self.gone:
                raise OSError(errno.EIO, "Input/output error")
            return read(folder, *name)

        patch.setattr(LocalFolder, method, read_or_not)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["names", "read"])
def test_a_run_waits_for_its_snapshots_while_they_cannot_be_read(
    method: str, plan: TrainingPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train(dataclasses.replace(plan, snapshots=None))
    interrupt(plan, 11, workers=1)
    place = Place(monkeypatch, method)
    with running(plan, "w") as run:
        run.start("w")
        for n in (1, 2):
            warning = run.until("warning").warning.message
            assert warning.startswith(
                f"the run waits, trying again every 10 s (failures in a row: {n}): The snapshot"
            )
            assert "Input/output error" in warning
            place.gone = n == 1
            run.pass_time(10.0)
        reports = run.reports()
        run.workers[0].end()
    assert resumed_at(reports) == [8]
    assert len(warnings(reports)) == 2
    assert reports[-1].finished.weights_digest == expected.weights_digest


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["no answer for long", "a pause", "a cancellation"])
def test_a_run_whose_snapshots_cannot_be_read_ends_without_loss(
    ending: str, plan: TrainingPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(plan, 11, workers=1)
    with monkeypatch.context() as patched, running(plan, "w") as run:
        Place(patched, "names")
        run.start("w")
        run.until("warning")
        if ending == "no answer for long":
            run.pass_time(600.0)
        elif ending == "a pause":
            run.command(runner_pb2.Command(pause=runner_pb2.Pause()))
        else:
            run.cancel()
        last = run.reports()[-1]
        run.workers[0].end()
    if ending == "a cancellation":
        assert last.WhichOneof("kind") == "cancelled"
    else:
        assert last.paused.reason.startswith(
            "paused, because it cannot go on before this can be read: The snapshots could not be "
        )
    assert resumed_at(run_to_end(plan, 1)) == [8]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["snapshots", "checkpoint"])
def test_workers_are_told_that_the_server_lives_while_it_reads(
    what: str, plan: TrainingPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if what == "checkpoint":
        train(dataclasses.replace(plan, steps=1, snapshots=None))
        checkpoint = plan.weights_path.rename(tmp_path / "start.safetensors")
        plan = dataclasses.replace(plan, snapshots=None, start_from=str(checkpoint))
    reading, go_on, method = Event(), Event(), {"snapshots": "names", "checkpoint": "size"}[what]
    read = getattr(LocalFolder, method)

    def read_slowly(folder: LocalFolder, *name: str) -> Any:
        reading.set()
        assert go_on.wait(SECONDS)
        return read(folder, *name)

    monkeypatch.setattr(LocalFolder, method, read_slowly)
    with running(plan, "w") as run, played(run, "w") as worker:
        assert reading.wait(SECONDS)
        for _ in range(math.ceil(SILENCE_SECONDS / PING_SECONDS) + 1):
            run.pass_time(PING_SECONDS)
            message = worker.receive(SECONDS)
            assert message is not None
            assert message.WhichOneof("kind") == "ping"
        go_on.set()
        assert task_of(worker).gradient.step == 0
        run.cancel()
        run.reports()


@pytest.mark.slow
def test_data_that_have_changed_since_fail_the_run(plan: TrainingPlan) -> None:
    interrupt(plan, 11, workers=1)
    layers = (Flatten(), AffineReLU(23), Affine(10))
    other = dataclasses.replace(plan, job=dataclasses.replace(plan.job, layers=layers))
    with running(other, "w") as run:
        run.start("w")
        message = run.fail()
        run.workers[0].end()
    assert message.startswith("The snapshot of step 8 has the arrays ")
