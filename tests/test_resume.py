"""A run that was interrupted goes on from its last snapshot and ends with the same bits."""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from leftovers import nothing_left_behind
from server_process import PromptWriter, serve_with_prompt_snapshots
from test_faults import PROCESSES, assert_ended_by, fired, process
from test_parameter_server import (
    OVERSHOOTING,
    PLAN,
    SECONDS,
    answer_truly,
    assert_stopped,
    played,
    running,
    task_of,
    train,
)
from threadpoolctl import threadpool_limits

from layers import Affine, AffineReLU, Dropout, Flatten
from trainer.early_stopping import EarlyStopping
from trainer.schedules import Cosine, Plateau
from trainer.server.parameter_server import TrainingPlan
from trainer.server.rounds import RUNNER
from trainer.server.snapshot_keeper import SnapshotPlan
from trainer.snapshots.local_folder import LocalFolder
from trainer.snapshots.store import SnapshotStore
from trainer.update_rules import UPDATE_RULES, Adam, Descent
from trainer.v1 import run_pb2, runner_pb2
from workers.channel import Link, ServerAddress, connect
from workers.faults import Fault, FaultPlan, InjectedFaultError, Point
from workers.worker import work

EVERY = 4
"""Steps between snapshots: a divisor of the twelve steps of an epoch."""

PLANS = {
    "momentum": dataclasses.replace(PLAN, steps=27),
    "adam": dataclasses.replace(
        PLAN,
        job=dataclasses.replace(
            PLAN.job, layers=(Flatten(), AffineReLU(24), Dropout(0.3), Affine(10))
        ),
        steps=27,
        descent=Descent(Adam(0.01), weight_decay=1e-3, clip_norm=0.5),
        schedule=Cosine(0.1),
        warmup_steps=6,
    ),
    "plateau": dataclasses.replace(
        PLAN,
        steps=None,
        epochs=10,
        descent=OVERSHOOTING,
        schedule=Plateau(0, 0.5, min_delta=0.02),
        early_stopping=EarlyStopping(2, min_delta=0.005),
    ),
}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # of processes that a test starts
    monkeypatch.setattr("trainer.server.snapshot_keeper.Writer", PromptWriter)
    with threadpool_limits(1), nothing_left_behind():
        yield


def in_folder(plan: TrainingPlan, folder: Path, every_steps: int | None = EVERY) -> TrainingPlan:
    """The plan with its files in a folder, snapshots among them."""
    snapshots = SnapshotPlan(str(folder / "snapshots"), "a digest", every_steps=every_steps)
    return dataclasses.replace(plan, weights_path=folder / "w.safetensors", snapshots=snapshots)


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


def run_to_end(plan: TrainingPlan, workers: int) -> list[runner_pb2.RunReport]:
    """All reports of a run on workers in threads."""
    names = [f"w{i}" for i in range(workers)]
    with running(plan, *names) as run:
        for name in names:
            run.start(name)
        reports = run.reports()
        for worker in run.workers:
            worker.end()
    assert reports[-1].WhichOneof("kind") == "finished", reports[-1]
    return reports


def resumed_at(reports: list[runner_pb2.RunReport]) -> list[int]:
    return [r.resumed.step for r in reports if r.WhichOneof("kind") == "resumed"]


def warnings(reports: list[runner_pb2.RunReport]) -> list[str]:
    return [r.warning.message for r in reports if r.WhichOneof("kind") == "warning"]


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


def interrupt(plan: TrainingPlan, step: int, workers: int, point: Point = "gathered") -> None:
    """Have the server break off in a step."""
    fault = Fault("server", step, point, "raise")
    broken = dataclasses.replace(
        plan, faults=FaultPlan((fault,), 1, plan.weights_path.parent / f"{step}.jsonl")
    )
    with suppress(InjectedFaultError), running(broken, *(f"w{i}" for i in range(workers))) as run:
        for i in range(workers):
            run.start(f"w{i}")
        for worker in run.workers:
            worker.end()
    assert broken.faults.journal.exists(), "the fault did not fire"


# In step k the server has done k − 1 steps: before the first snapshot, at one, between two, at and
# after the end of an epoch.
STEPS_OF_CRASH = [1, 2, 5, 8, 12, 13, 14, 24, 25]


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


def test_a_run_may_be_paused_before_its_first_step(plan: TrainingPlan) -> None:
    with running(plan, "w") as run:
        run.command(runner_pb2.Command(pause=runner_pb2.Pause()))
        run.start("w")
        assert run.reports()[-1].paused == runner_pb2.Paused(step=0)
        run.workers[0].end()
    assert resumed_at(run_to_end(plan, 1)) == [0]


def test_a_run_without_workers_may_be_paused(plan: TrainingPlan) -> None:
    with running(plan, "w") as run, Link(run.address, "w", 1, 1, "frames") as silent:
        silent.fail("MemoryError: no room")  # so that nobody is waited for
        run.command(runner_pb2.Command(pause=runner_pb2.Pause()))
        assert run.reports()[-1].paused == runner_pb2.Paused(step=0)


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_pause_that_cannot_be_saved_fails_the_run(
    plan: TrainingPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalFolder, "write", full_disk)
    with running(plan, "w") as run:
        run.command(runner_pb2.Command(pause=runner_pb2.Pause()))
        run.start("w")
        message = run.fail()
        run.workers[0].end()
    assert message.startswith("The snapshot of step 0 was not saved in ")
    assert "No space left on device" in message


def test_a_run_without_snapshots_cannot_be_paused(plan: TrainingPlan) -> None:
    with running(dataclasses.replace(plan, snapshots=None), "w") as run:
        run.command(runner_pb2.Command(pause=runner_pb2.Pause()))
        run.start("w")
        assert run.fail() == "the run keeps no snapshots, so it cannot be paused"
        run.workers[0].end()


# What goes wrong with snapshots.


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


def test_a_snapshot_of_another_specification_is_not_used(plan: TrainingPlan) -> None:
    expected = train(dataclasses.replace(plan, snapshots=None))
    interrupt(plan, 11, workers=1)
    assert plan.snapshots is not None
    other = dataclasses.replace(plan, snapshots=dataclasses.replace(plan.snapshots, spec="other"))
    reports = run_to_end(other, 1)
    assert resumed_at(reports) == []
    assert reports[-1].finished.weights_digest == expected.weights_digest


def test_a_place_that_cannot_be_listed_fails_the_run(plan: TrainingPlan) -> None:
    assert plan.snapshots is not None
    Path(plan.snapshots.location).write_text("")
    with running(plan, "w") as run:
        run.start("w")
        message = run.fail()
        run.workers[0].end()
    assert message.startswith("The snapshots could not be listed in ")


def test_data_that_have_changed_since_fail_the_run(plan: TrainingPlan) -> None:
    interrupt(plan, 11, workers=1)
    layers = (Flatten(), AffineReLU(23), Affine(10))
    other = dataclasses.replace(plan, job=dataclasses.replace(plan.job, layers=layers))
    with running(other, "w") as run:
        run.start("w")
        message = run.fail()
        run.workers[0].end()
    assert message.startswith("The snapshot of step 8 has the arrays ")
