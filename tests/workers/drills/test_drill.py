"""Drills: each fault fires where it is planned, is written down first, and costs no bit."""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from sumgrad.layers import InvalidHyperparameterError
from sumgrad.trainer.arithmetic.reduction import BLOCK, Reduction
from sumgrad.trainer.arithmetic.update_rules import SGD, Descent
from sumgrad.trainer.server.rounds.membership import RUNNER
from sumgrad.trainer.server.training_plan import TrainingPlan
from sumgrad.trainer.v1 import run_pb2, runner_pb2
from sumgrad.workers.channel import ServerAddress, connect
from sumgrad.workers.drills.drill import POINTS, Action, Fault, FaultPlan, InjectedFaultError, Point
from sumgrad.workers.serving import work

from support.drilled_processes import PROCESSES, assert_ended_by, fired, process
from support.leftovers import nothing_left_behind
from support.server_process import serve
from support.slow_worker import work_slowly
from support.training import (
    PLAN,
    SECONDS,
    SHARDS,
    Run,
    answer_truly,
    played,
    running,
    task_of,
    train,
)

STEP = 4
SERVER_POINTS: tuple[Point, ...] = ("gathered", "applying", "applied")


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # of processes that a test starts
    with threadpool_limits(1), nothing_left_behind():
        yield


@pytest.fixture
def plan(tmp_path: Path) -> TrainingPlan:
    return dataclasses.replace(PLAN, steps=8, weights_path=tmp_path / "w.safetensors")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> run_pb2.Result:
    path = tmp_path_factory.mktemp("undisturbed") / "w.safetensors"
    with threadpool_limits(1):
        return train(dataclasses.replace(PLAN, steps=8, weights_path=path))


def fault(target: str, point: Point, action: Action, **fields: Any) -> Fault:
    seconds = 0.001 if action == "delay" else 0.0
    return Fault(target, fields.pop("step", STEP), point, action, seconds, **fields)


def drilled(plan: TrainingPlan, *faults: Fault, attempt: int = 1) -> TrainingPlan:
    """The plan with faults; its workers are to be given the same ones."""
    journal = plan.weights_path.parent / "faults.jsonl"
    return dataclasses.replace(plan, faults=FaultPlan(faults, attempt, journal))


# What may be planned.


@pytest.mark.parametrize(
    ("fields", "field", "problem"),
    [
        (("worker", 1, "compute", "kill"), "target", "must be server, runner or worker-<number>"),
        (("worker-x", 1, "compute", "kill"), "target", "must be server, runner or worker-"),
        (("server", 0, "applied", "kill"), "step", "must be ≥ 1, got 0"),
        (("server", 1, "compute", "kill"), "point", "gathered, applying, applied, snapshot here"),
        (("worker-0", 1, "applied", "kill"), "point", "must be one of compute, answer here"),
        (("runner", 1, "applied", "kill"), "point", "must be one of progress here"),
        (("server", 1, "applied", "poison"), "action", "poison is for workers' gradients"),
        (("server", 1, "applied", "delay"), "seconds", "must be in (0, 3600] to delay, got 0.0"),
        (("server", 1, "applied", "delay", 3601.0), "seconds", "must be in (0, 3600] to delay"),
        (("server", 1, "applied", "kill", 1.0), "seconds", "is for the action delay"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(
    fields: tuple[Any, ...], field: str, problem: str
) -> None:
    with pytest.raises(InvalidHyperparameterError) as caught:
        Fault(*fields)
    [(found, text)] = caught.value.problems
    assert found == field
    assert problem in text


# When a fault fires.


def plan_of(tmp_path: Path, *faults: Fault, attempt: int = 1) -> FaultPlan:
    return FaultPlan(faults, attempt, tmp_path / "run" / "faults.jsonl")


def test_a_fault_fires_once_at_its_point_from_its_step_on(tmp_path: Path) -> None:
    faults = plan_of(tmp_path, fault("worker-0", "answer", "poison"))
    drill = faults.drill("worker-0")
    assert not drill.at("answer", STEP - 1)
    assert not drill.at("compute", STEP)
    assert fired(faults) == []
    assert drill.at("answer", STEP + 1)
    assert not drill.at("answer", STEP + 2)
    assert fired(faults) == [("worker-0", STEP + 1, "answer", "poison")]


def test_a_fault_is_for_its_target_alone(tmp_path: Path) -> None:
    faults = plan_of(tmp_path, fault("worker-1", "compute", "poison"))
    assert not faults.drill("worker-0").at("compute", STEP)
    assert faults.drill("worker-1").at("compute", STEP)


def test_a_replacement_is_spared_unless_every_attempt_is_meant(tmp_path: Path) -> None:
    once = fault("worker-0", "compute", "poison")
    always = fault("worker-0", "answer", "poison", every_attempt=True)
    faults = plan_of(tmp_path, once, always)
    for first in (True, False):
        process = faults.drill("worker-0")
        assert process.at("compute", STEP) == first
        assert process.at("answer", STEP)
        assert not process.at("answer", STEP)
    again = dataclasses.replace(faults, attempt=2).drill("worker-0")
    assert not again.at("compute", STEP)
    assert again.at("answer", STEP)


def test_a_later_attempt_is_spared_even_where_the_first_did_not_come_so_far(
    tmp_path: Path,
) -> None:
    faults = plan_of(tmp_path, fault("server", "applied", "raise"), attempt=2)
    faults.drill("server").at("applied", STEP)
    assert fired(faults) == []


@pytest.mark.parametrize("target", ["server", "runner"])
def test_every_point_raises_and_delays(
    tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("sumgrad.workers.drills.drill.time.sleep", slept.append)
    for point in POINTS[target]:
        faults = plan_of(
            tmp_path / point, fault(target, point, "delay"), fault(target, point, "raise")
        )
        with pytest.raises(InjectedFaultError, match=f"{target} fail in step 4, point {point}"):
            faults.drill(target).at(point, STEP)
        assert fired(faults) == [
            (target, STEP, point, "delay"),
            (target, STEP, point, "raise"),
        ]
    assert slept == [0.001] * len(POINTS[target])


def test_a_plan_travels_to_another_process() -> None:
    faults = FaultPlan((fault("worker-0", "compute", "kill"),))
    assert pickle.loads(pickle.dumps(faults)) == faults


def test_applying_is_when_the_first_block_of_the_weights_has_changed() -> None:
    weights, total = np.zeros(2 * BLOCK, np.float32), np.ones(2 * BLOCK, np.float32)
    reduction = Reduction(len(weights))

    def stop() -> None:
        raise InjectedFaultError

    with pytest.raises(InjectedFaultError):
        reduction.apply(Descent(SGD(1.0)), weights, total, 1, {}, 1.0, 1, stop)
    assert (weights[:BLOCK] == -1).all()
    assert (weights[BLOCK:] == 0).all()


# Runs. Workers are processes where a signal ends them, and threads elsewhere.


@pytest.mark.parametrize("point", POINTS["worker"])
@pytest.mark.parametrize("action", ["kill", "stop"])
def test_a_worker_that_is_killed_or_stopped_costs_no_bit(
    plan: TrainingPlan, point: Point, action: Action, undisturbed: run_pb2.Result
) -> None:
    plan = drilled(plan, fault("worker-0", point, action))
    with running(plan, "worker-0", "worker-1") as run:
        run.start("worker-1")
        arguments = (plan.job, run.address, "worker-0", "memory", plan.faults)
        with process(work, *arguments) as worker:
            assert_ended_by(worker, action)
            assert fired(plan.faults) == [("worker-0", STEP, point, action)]
            if action == "stop":
                run.lose("worker-0")
            result = run.finish()
    assert result.workers == 1
    assert result.weights_digest == undisturbed.weights_digest


@pytest.mark.slow
def test_a_worker_that_was_stopped_and_goes_on_costs_no_bit(
    plan: TrainingPlan, undisturbed: run_pb2.Result
) -> None:
    plan = drilled(plan, fault("worker-0", "answer", "stop"))
    with running(plan, "worker-0", "other") as run, played(run, "other") as other:
        arguments = (plan.job, run.address, "worker-0", "memory", plan.faults)
        with process(work, *arguments) as worker:
            for _ in range(STEP):
                answer_truly(other, task_of(other))
            assert_ended_by(worker, "stop")
            run.pass_time(2.0)
            copy = task_of(other)
            assert (copy.gradient.step, len(range(copy.begin, copy.end))) == (STEP - 1, SHARDS // 2)
            answer_truly(other, copy)
            # The next step is the other's alone, and it does not answer.
            whole = task_of(other)
            assert (whole.gradient.step, whole.begin, whole.end) == (STEP, 0, SHARDS)
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGCONT)
            run.pass_time(2.0)
            reports = run.reports()
            worker.join(SECONDS)
            assert worker.exitcode == 0
    assert fired(plan.faults) == [("worker-0", STEP, "answer", "stop")]
    assert not [r for r in reports if r.membership.reason], "nobody was given up"
    result = reports[-1].finished
    assert (result.weights_digest, result.workers) == (undisturbed.weights_digest, 2)


def test_a_worker_that_is_ten_times_slower_costs_no_bit(
    plan: TrainingPlan, undisturbed: run_pb2.Result
) -> None:
    with running(plan, "quick", "slow") as run:
        run.start("quick")
        with process(work_slowly, plan.job, run.address, "slow") as slow:
            reports = run.reports()
            slow.join(SECONDS)
            assert slow.exitcode == 0
        run.workers[0].end()
    joined = {r.membership.worker for r in reports if r.membership.joined}
    assert joined == {"quick", "slow"}
    assert reports[-1].finished.weights_digest == undisturbed.weights_digest


def start(run: Run, plan: TrainingPlan, *names: str) -> None:
    """Start workers in threads, with the plan's faults."""
    for name in names:
        run.start(name, "memory", plan.faults)


@pytest.mark.parametrize("point", POINTS["worker"])
def test_a_worker_that_raises_costs_no_bit_and_is_named(
    plan: TrainingPlan, point: Point, undisturbed: run_pb2.Result
) -> None:
    plan = drilled(plan, fault("worker-0", point, "raise"))
    with running(plan, "worker-0", "worker-1") as run:
        start(run, plan, "worker-0", "worker-1")
        reports = run.reports()
        with pytest.raises(InjectedFaultError):
            run.workers[0].end()
        run.workers[1].end()
    [left] = [r.membership for r in reports if r.membership.reason]
    assert (left.worker, left.joined, left.step) == ("worker-0", False, STEP - 1)
    assert left.reason.startswith("worker-0 failed: InjectedFaultError: ")
    assert reports[-1].finished.weights_digest == undisturbed.weights_digest
    assert fired(plan.faults) == [("worker-0", STEP, point, "raise")]


@pytest.mark.parametrize("point", POINTS["worker"])
def test_a_worker_that_is_late_costs_no_bit(
    plan: TrainingPlan, point: Point, undisturbed: run_pb2.Result
) -> None:
    plan = drilled(plan, fault("worker-0", point, "delay"))
    with running(plan, "worker-0", "worker-1") as run:
        start(run, plan, "worker-0", "worker-1")
        result = run.finish()
    assert fired(plan.faults) == [("worker-0", STEP, point, "delay")]
    assert result.weights_digest == undisturbed.weights_digest


@pytest.mark.parametrize("point", POINTS["worker"])
def test_a_poisoned_gradient_fails_its_step(plan: TrainingPlan, point: Point) -> None:
    plan = drilled(plan, fault("worker-0", point, "poison"))
    with running(plan, "worker-0", "worker-1") as run:
        start(run, plan, "worker-0", "worker-1")
        message = run.fail()
        for worker in run.workers:
            worker.end()
    assert message.startswith(
        f"step {STEP}: the gradient or loss was NaN or infinite, but not when it was computed again"
    )
    assert fired(plan.faults) == [("worker-0", STEP, point, "poison")]


@pytest.mark.slow
def test_any_number_of_workers_skips_a_poisoned_step(
    plan: TrainingPlan, tmp_path: Path, undisturbed: run_pb2.Result
) -> None:
    digests = set()
    for workers in (1, 2, 3):
        path = tmp_path / str(workers) / "w.safetensors"
        skipping = drilled(
            dataclasses.replace(plan, non_finite="skip", weights_path=path),
            fault("worker-0", "answer", "poison"),
        )
        names = [f"worker-{i}" for i in range(workers)]
        with running(skipping, *names) as run:
            start(run, skipping, *names)
            result = run.finish()
        assert result.skipped_steps == len(fired(skipping.faults)) == 1
        digests.add(result.weights_digest)
    assert len(digests) == 1
    assert undisturbed.weights_digest not in digests


@pytest.mark.parametrize("point", SERVER_POINTS)
def test_a_server_that_raises_has_its_workers_stop(plan: TrainingPlan, point: Point) -> None:
    plan = drilled(plan, fault("server", point, "raise"))

    def until_the_worker_ends() -> None:
        with running(plan, "w") as run:
            run.start("w")
            run.workers[0].end()

    with pytest.raises(InjectedFaultError):
        until_the_worker_ends()
    assert fired(plan.faults) == [("server", STEP, point, "raise")]
    assert not plan.weights_path.exists()


@pytest.mark.parametrize("point", SERVER_POINTS)
def test_a_server_that_is_late_costs_no_bit(
    plan: TrainingPlan, point: Point, undisturbed: run_pb2.Result
) -> None:
    plan = drilled(plan, fault("server", point, "delay"))
    assert train(plan).weights_digest == undisturbed.weights_digest
    assert fired(plan.faults) == [("server", STEP, point, "delay")]


@pytest.mark.slow
@pytest.mark.parametrize("point", SERVER_POINTS)
@pytest.mark.parametrize("action", ["kill", "stop"])
def test_a_server_is_killed_or_stopped_at_every_point(
    plan: TrainingPlan, point: Point, action: Action
) -> None:
    plan = drilled(plan, fault("server", point, action))
    ours, theirs = PROCESSES.Pipe()
    with ours, theirs, process(serve, plan, theirs) as server:
        assert ours.poll(SECONDS)
        address: ServerAddress = ours.recv()
        runner = connect(address, RUNNER, address.local)
        runner.send(runner_pb2.Command().SerializeToString())
        with process(work, plan.job, address, "w"):
            assert_ended_by(server, action)
        runner.close(linger=0)
    assert fired(plan.faults) == [("server", STEP, point, action)]
    assert not plan.weights_path.exists()


def test_faults_of_others_cost_a_run_no_bit(
    plan: TrainingPlan, undisturbed: run_pb2.Result
) -> None:
    plan = drilled(plan, fault("worker-7", "compute", "kill"), fault("runner", "progress", "kill"))
    with running(plan, "worker-0") as run:
        start(run, plan, "worker-0")
        assert run.finish().weights_digest == undisturbed.weights_digest
    assert fired(plan.faults) == []
