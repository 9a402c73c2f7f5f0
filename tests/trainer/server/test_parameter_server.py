"""The parameter server and its workers, in threads of one process, over real sockets.

The test plays the runner: it takes the server's reports and gives commands.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import zmq
from safetensors import safe_open
from safetensors.numpy import load_file
from sklearn.metrics import accuracy_score, r2_score, root_mean_squared_error
from threadpoolctl import threadpool_limits

from sumgrad.layers import (
    ELU,
    LAYERS,
    Affine,
    AffineReLU,
    Convolution,
    ConvolutionReLU,
    Dropout,
    Flatten,
    Layer,
    LayerNorm,
    Loss,
    Maxout,
    MaxPool,
    MeanPool,
    Network,
    ReLU,
    Sigmoid,
    Tanh,
    TargetError,
)
from sumgrad.layers.losses import (
    Logistic,
    Reconstruction,
    SignedLogistic,
    SquaredError,
)
from sumgrad.trainer.arithmetic.early_stopping import EarlyStopping
from sumgrad.trainer.arithmetic.reduction import THREADED_SIZE
from sumgrad.trainer.arithmetic.schedules import Cosine, Plateau, Schedule, Step
from sumgrad.trainer.arithmetic.update_rules import SGD, UPDATE_RULES, Descent, Momentum
from sumgrad.trainer.record import history
from sumgrad.trainer.record.events import from_report
from sumgrad.trainer.server.training_plan import TrainingPlan
from sumgrad.trainer.v1 import run_pb2, runner_pb2
from sumgrad.trainer.weights.layout import digest
from sumgrad.trainer.weights.weight_file import write_weights
from sumgrad.workers.channel import Vectors, WorkerEndpoint
from sumgrad.workers.datasets import Dataset, DatasetError, Description, Digits, Npz, data_digest
from sumgrad.workers.sampling import Sampling
from sumgrad.workers.v1 import work_pb2
from sumgrad.workers.worker import sums_needed

from support.gradient_check import Array
from support.leftovers import nothing_left_behind
from support.training import (
    BATCH,
    OVERSHOOTING,
    PLAN,
    ROWS,
    SECONDS,
    SHARDS,
    STEPS,
    TEST_ROWS,
    Noting,
    Run,
    answer_truly,
    assert_stopped,
    epochs_of,
    network,
    played,
    running,
    task_of,
    train,
)


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    # One BLAS thread, as the service gives every process of a run.
    with threadpool_limits(1), nothing_left_behind():
        yield


@pytest.fixture
def plan(tmp_path: Path) -> TrainingPlan:
    return dataclasses.replace(PLAN, weights_path=tmp_path / "weights" / "w.safetensors")


# An independent computation in float64.

Weights = dict[str, Array]


def forward(weights: Weights, x: Array) -> tuple[Array, Array]:
    hidden = np.maximum(np.einsum("bi,oi->bo", x, weights["1.W"]) + weights["1.b"], 0)
    return hidden, np.einsum("bi,oi->bo", hidden, weights["2.W"]) + weights["2.b"]


def mean_loss_and_accuracy(weights: Weights, x: Array, y: Array) -> tuple[float, float]:
    scores = forward(weights, x)[1]
    losses = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(y)), y]
    return float(losses.mean()), float((scores.argmax(axis=1) == y).mean())


def digits() -> tuple[Array, Array, Array, Array]:
    data = Digits().load()
    x, x_test = (split.x.reshape(len(split), 64) / 16 for split in (data.train, data.test))
    return x, data.train.y, x_test, data.test.y


def train_in_float64(steps: int, rate: Callable[[int], float] = lambda step: 0.05) -> Weights:
    """Momentum over mini-batches in float64.

    Formulas: docs/mathematics.md#4-batches-and-updates, docs/mathematics.md#5-vector-layers and
    docs/mathematics.md#7-losses.
    ``rate`` is the learning rate of a step, counted from 0.
    """
    x, y, _, _ = digits()
    net = network()
    start = net.views(net.init(PLAN.job.seed).astype(np.float64))
    weights = {f"{slot.layer}.{slot.name}": start[slot.layer][slot.name] for slot in net.slots}
    velocity = {name: np.zeros_like(value) for name, value in weights.items()}
    sampling = Sampling(PLAN.job.seed, ROWS, BATCH, SHARDS)
    for step in range(steps):
        rows = sampling.step_rows(step)
        hidden, scores = forward(weights, x[rows])
        p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        ds = (p - np.eye(10)[y[rows]]) / len(rows)
        dhidden = np.einsum("bo,oi->bi", ds, weights["2.W"]) * (hidden > 0)
        gradient = {
            "1.W": np.einsum("bo,bi->oi", dhidden, x[rows]),
            "1.b": dhidden.sum(axis=0),
            "2.W": np.einsum("bo,bi->oi", ds, hidden),
            "2.b": ds.sum(axis=0),
        }
        for name, value in gradient.items():
            velocity[name] = 0.9 * velocity[name] + value
            weights[name] = weights[name] - rate(step) * velocity[name]
    return weights


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> run_pb2.Result:
    """What one worker makes of the plan."""
    path = tmp_path_factory.mktemp("undisturbed") / "w.safetensors"
    with threadpool_limits(1):
        return train(dataclasses.replace(PLAN, weights_path=path))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 3, 5])
@pytest.mark.parametrize("vectors", ["memory", "frames"])
def test_any_number_of_workers_gives_the_same_digest(
    plan: TrainingPlan, workers: int, vectors: Vectors, undisturbed: run_pb2.Result
) -> None:
    result = train(plan, workers, vectors)
    assert result.workers == workers
    assert result.weights_digest == undisturbed.weights_digest
    assert (result.e_in, result.e_out) == (undisturbed.e_in, undisturbed.e_out)
    assert result.accuracy == undisturbed.accuracy


def targets(low: float, high: float, path: Path) -> Npz:
    """Digits with two float targets each: how dark its halves are, within [low, high]."""
    data = Digits().load()
    arrays = {}
    for name, split in (("train", data.train), ("test", data.test)):
        arrays[f"x_{name}"] = split.x.astype(np.float32) / 16
        halves = arrays[f"x_{name}"].reshape(-1, 2, 32).mean(axis=2)
        arrays[f"y_{name}"] = low + (high - low) * halves
    np.savez(path, **arrays)
    return Npz(str(path))


@pytest.mark.slow
@pytest.mark.parametrize("loss", [SquaredError(), Logistic(), Reconstruction()])
def test_any_number_of_workers_reports_the_same_bits_of_every_metric(
    plan: TrainingPlan, tmp_path: Path, loss: Loss
) -> None:
    layers = (AffineReLU(24), Affine(64 if loss.unsupervised else 2))
    source = targets(0, 1, tmp_path / "data.npz")
    job = dataclasses.replace(plan.job, source=source, layers=layers, loss=loss)
    regression = dataclasses.replace(plan, job=job, descent=Descent(Momentum(0.001)))
    found = []
    for workers in (1, 2, 3):
        names = [f"w{i}" for i in range(workers)]
        with running(regression, *names) as run:
            for name in names:
                run.start(name)
            reports = run.reports()
        assert reports[-1].WhichOneof("kind") == "finished", reports[-1]
        result = reports[-1].finished
        figures: list[run_pb2.Epoch | run_pb2.Progress | run_pb2.Result] = [result]
        figures += [r.epoch for r in reports if r.WhichOneof("kind") == "epoch"]
        figures += [r.progress for r in reports if r.WhichOneof("kind") == "progress"][-1:]
        assert {one.WhichOneof("metric") for one in figures} == {loss.metric.name}
        found.append([(one.e_in, getattr(one, loss.metric.name)) for one in figures])
    assert found[0] == found[1] == found[2]

    net = Network(layers, (8, 8, 1))
    weights = load_file(result.weights_path)
    flat = np.concatenate([weights[f"{slot.layer}.{slot.name}"].ravel() for slot in net.slots])
    test = source.load().test
    scores, _ = net.forward(net.views(flat.astype(np.float64)), test.x.astype(np.float64))
    y = test.x.reshape(TEST_ROWS, 64) if loss.unsupervised else test.y
    expected = {
        "accuracy": lambda: accuracy_score((y > 0.5).ravel(), (scores > 0).ravel()),
        "r2": lambda: r2_score(y, scores, multioutput="variance_weighted"),
        "rmse": lambda: root_mean_squared_error(y.ravel(), scores.ravel()),
    }[loss.metric.name]()
    assert getattr(result, loss.metric.name) == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_digest_of_a_large_network(
    plan: TrainingPlan,
) -> None:
    layers = (AffineReLU(THREADED_SIZE // 64), Affine(10))
    job = dataclasses.replace(plan.job, layers=layers)
    large = dataclasses.replace(plan, job=job, steps=2)
    digests = {train(large, workers).weights_digest for workers in (1, 2, 3)}
    assert len(digests) == 1


EVERY_LAYER: tuple[tuple[Layer, ...], ...] = (
    (
        Convolution(12, 3, padding=1, bias="position"),
        ReLU(),
        MaxPool(2),
        # Channels enough for the fast rows of a convolution.
        ConvolutionReLU(8, 3, padding=1),
        LayerNorm(),
        MeanPool(2),
        Dropout(0.2),
        Flatten(),
        AffineReLU(16),
        Affine(10),
    ),
    (
        ConvolutionReLU(4, (3, 2), stride=(2, 1)),
        MaxPool((1, 2), "drop"),
        Tanh(),
        Convolution(6, 2, stride=2, bias="none"),
        ELU(),
        Dropout(0.1),
        Maxout(12, pieces=2),
        Sigmoid(),
        LayerNorm(),
        Affine(10),
    ),
)
"""Networks of images with a layer of every type in one of them."""


def test_every_type_of_layer_is_trained_by_several_workers() -> None:
    assert {type(layer) for layers in EVERY_LAYER for layer in layers} == set(LAYERS.values())


@pytest.mark.slow
@pytest.mark.parametrize("layers", EVERY_LAYER, ids=["relu", "smooth"])
def test_any_number_of_workers_gives_the_same_digest_with_every_layer(
    plan: TrainingPlan, layers: tuple[Layer, ...]
) -> None:
    job = dataclasses.replace(plan.job, layers=layers, shards=5)
    images = dataclasses.replace(plan, job=job, steps=3)
    results = [train(images, workers) for workers in (1, 2, 3)]
    assert len({result.weights_digest for result in results}) == 1
    assert len({(result.e_in, result.e_out, result.accuracy) for result in results}) == 1

    net = Network(layers, (8, 8, 1))
    start = net.views(net.init(job.seed))
    trained = load_file(results[0].weights_path)
    for slot in net.slots:
        assert (trained[f"{slot.layer}.{slot.name}"] != start[slot.layer][slot.name]).any(), slot


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(UPDATE_RULES))
def test_any_number_of_workers_gives_the_same_digest_with_every_rule(
    plan: TrainingPlan, name: str
) -> None:
    rule = UPDATE_RULES[name](learning_rate=0.01)  # type: ignore[call-arg]
    descent = Descent(rule, weight_decay=1e-3, clip_value=0.05, clip_norm=0.5)
    clipped = dataclasses.replace(plan, descent=descent)
    results = [train(clipped, workers) for workers in (1, 2, 3)]
    assert len({result.weights_digest for result in results}) == 1
    plain = train(dataclasses.replace(plan, descent=Descent(rule)))
    assert plain.weights_digest != results[0].weights_digest


SCHEDULES = [Step(1, 0.5), Cosine(0.1), Plateau(0, 0.5, min_delta=10.0)]


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_any_number_of_workers_gives_the_same_digest_with_every_schedule(
    plan: TrainingPlan, schedule: Schedule, undisturbed: run_pb2.Result
) -> None:
    scheduled = dataclasses.replace(plan, schedule=schedule, warmup_steps=3, steps=30)
    digests = {train(scheduled, workers).weights_digest for workers in (1, 2, 3)}
    assert len(digests) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schedule", "rate"),
    [
        (Step(1, 0.5), lambda step: 0.05 * 0.5 ** (step // 12)),
        (Cosine(0.2), lambda step: 0.05 * (0.6 + 0.4 * np.cos(np.pi * step / 30))),
        # The first epoch is the lowest so far; no later one is lower by 10.
        (Plateau(0, 0.5, min_delta=10.0), lambda step: 0.05 * (0.5 if step >= 24 else 1.0)),
    ],
    ids=["step", "cosine", "plateau"],
)
def test_the_learning_rate_follows_warmup_and_schedule(
    plan: TrainingPlan, schedule: Schedule, rate: Callable[[int], float]
) -> None:
    result = train(dataclasses.replace(plan, schedule=schedule, warmup_steps=4, steps=30))
    trained = load_file(result.weights_path)
    expected = train_in_float64(30, lambda step: rate(step) * min(1, (step + 1) / 4))
    for name, value in expected.items():
        np.testing.assert_allclose(trained[name], value, rtol=1e-4, atol=2e-5)


def test_a_rule_is_given_the_rate_of_the_step_and_its_number_from_1(plan: TrainingPlan) -> None:
    rule = Noting(0.5)
    train(dataclasses.replace(plan, descent=Descent(rule), warmup_steps=4, steps=5))
    assert rule.noted == [(0.125, 1), (0.25, 2), (0.375, 3), (0.5, 4), (0.5, 5)]


@pytest.mark.slow
@pytest.mark.parametrize("patience", [1, 2, 30])
def test_early_stopping_ends_with_the_weights_of_the_best_epoch(
    plan: TrainingPlan, patience: int
) -> None:
    plan = dataclasses.replace(plan, descent=OVERSHOOTING, steps=None, epochs=10)
    stopping = EarlyStopping(patience, min_delta=0.005)
    epochs, result = epochs_of(dataclasses.replace(plan, early_stopping=stopping))
    lowest = min(epochs, key=lambda epoch: epoch.e_out)
    assert result.best_epoch == lowest.epoch
    assert result.best_epoch < len(epochs), "the last epoch is the best: nothing is shown"
    assert (result.e_out, result.accuracy) == (lowest.e_out, lowest.accuracy)
    assert (result.epochs, result.steps) == (len(epochs), 12 * len(epochs))
    assert result.stopped_early == (patience < 30) == (len(epochs) < 10)

    until_best = train(dataclasses.replace(plan, epochs=lowest.epoch))
    assert result.weights_digest == until_best.weights_digest
    assert (result.e_in, result.e_out) == (until_best.e_in, until_best.e_out)
    trained = load_file(result.weights_path)
    assert all(np.isfinite(value).all() for value in trained.values())


@pytest.mark.slow
def test_any_number_of_workers_stops_at_the_same_epoch(plan: TrainingPlan) -> None:
    plan = dataclasses.replace(
        plan,
        descent=OVERSHOOTING,
        steps=None,
        epochs=10,
        early_stopping=EarlyStopping(1, min_delta=0.005),
    )
    ways: list[tuple[int, Vectors]] = [(1, "memory"), (2, "memory"), (3, "memory"), (2, "frames")]
    found = {
        (result.best_epoch, result.epochs, result.weights_digest, result.e_in)
        for result in (train(plan, workers, vectors) for workers, vectors in ways)
    }
    assert len(found) == 1


def test_without_early_stopping_there_is_no_best_epoch(undisturbed: run_pb2.Result) -> None:
    assert not undisturbed.HasField("best_epoch")
    assert not undisturbed.stopped_early


def test_an_e_out_of_nan_ends_a_run_by_early_stopping_and_not_by_a_crash(
    plan: TrainingPlan,
) -> None:
    one_epoch = dataclasses.replace(
        plan, steps=None, epochs=5, early_stopping=EarlyStopping(1), schedule=Plateau(0)
    )
    with running(one_epoch, "w") as run, played(run, "w") as worker:
        # An epoch of twelve steps, one chunk of held-out rows, and the training rows at the end.
        for loss in [1.0] * 12 + [np.nan, 1.0]:
            task = task_of(worker)
            worker.sums[:] = 0
            units = task.end - task.begin
            answer = work_pb2.Answer(
                round=task.round, end=task.end, losses=[loss] * units, rows=BATCH
            )
            worker.answer(answer, 1)
        result = run.reports()[-1].finished
    assert np.isnan(result.e_out)
    assert (result.epochs, result.best_epoch, result.stopped_early) == (1, 1, True)


def test_the_number_of_shards_is_part_of_what_is_computed(
    plan: TrainingPlan, undisturbed: run_pb2.Result
) -> None:
    job = dataclasses.replace(plan.job, shards=3)
    assert train(dataclasses.replace(plan, job=job)).weights_digest != undisturbed.weights_digest


def test_training_follows_the_formulas(undisturbed: run_pb2.Result) -> None:
    trained = load_file(undisturbed.weights_path)
    expected = train_in_float64(STEPS)
    assert set(trained) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(trained[name], value, rtol=1e-4, atol=1e-5)


def test_the_result_agrees_with_an_evaluation_of_the_weights_file(
    undisturbed: run_pb2.Result,
) -> None:
    weights = {
        name: value.astype(np.float64)
        for name, value in load_file(undisturbed.weights_path).items()
    }
    x, y, x_test, y_test = digits()
    e_in, _ = mean_loss_and_accuracy(weights, x, y)
    e_out, accuracy = mean_loss_and_accuracy(weights, x_test, y_test)
    assert undisturbed.e_in == pytest.approx(e_in, rel=1e-6)
    assert undisturbed.e_out == pytest.approx(e_out, rel=1e-6)
    assert undisturbed.accuracy == pytest.approx(accuracy)
    assert (undisturbed.steps, undisturbed.epochs) == (STEPS, 2)


def test_the_weights_file_says_what_it_holds(undisturbed: run_pb2.Result) -> None:
    with safe_open(undisturbed.weights_path, framework="numpy") as file:
        [described] = file.metadata().values()
    assert json.loads(described) == {
        "name": "a test",
        "weights_digest": undisturbed.weights_digest,
    }
    trained = load_file(undisturbed.weights_path)
    assert {name: value.dtype for name, value in trained.items()} == dict.fromkeys(
        trained, np.float32
    )
    flat = np.concatenate([trained[name].ravel() for name in ("1.W", "1.b", "2.W", "2.b")])
    assert digest(network(), flat) == undisturbed.weights_digest
    assert [path.name for path in Path(undisturbed.weights_path).parent.iterdir()] == [
        "w.safetensors"
    ]


def test_each_epoch_is_reported_and_the_last_progress_is_the_end(plan: TrainingPlan) -> None:
    with running(plan, "w") as run:
        run.start("w")
        reports = run.reports()
    epochs = [report.epoch for report in reports if report.WhichOneof("kind") == "epoch"]
    assert [(epoch.epoch, epoch.step) for epoch in epochs] == [(1, 12), (2, 15)]
    assert epochs[0].e_in > epochs[1].e_in > 0
    result = reports[-1].finished
    assert (epochs[1].e_out, epochs[1].accuracy) == (result.e_out, result.accuracy)

    progress = [r.progress for r in reports if r.WhichOneof("kind") == "progress"]
    assert (progress[0].step, progress[0].epoch, progress[0].samples) == (1, 1, BATCH)
    end = progress[-1]
    assert (end.step, end.steps, end.epoch, end.epochs) == (STEPS, STEPS, 2, 2)
    assert end.samples == ROWS + 3 * BATCH
    assert end.seconds_left == 0
    times = [r.step_times for r in reports if r.WhichOneof("kind") == "step_times"][-1]
    assert {phase.name: sum(phase.counts) for phase in times.phases} == dict.fromkeys(
        ("compute", "channel", "reduce", "update"), STEPS
    )


def test_epochs_are_whole_passes_over_the_rows(plan: TrainingPlan) -> None:
    result = train(dataclasses.replace(plan, steps=None, epochs=1))
    assert (result.steps, result.epochs) == (12, 1)


@pytest.mark.slow
@pytest.mark.parametrize("vectors", ["memory", "frames"])
@pytest.mark.parametrize("answered", [0, 1, 4], ids=lambda n: f"after-{n}-answers")
def test_losing_a_worker_loses_nothing(
    plan: TrainingPlan, vectors: Vectors, answered: int, undisturbed: run_pb2.Result
) -> None:
    with running(plan, "w", "mortal") as run, played(run, "mortal", vectors) as mortal:
        run.start("w", vectors)
        for _ in range(answered):
            answer_truly(mortal, task_of(mortal))
        task = task_of(mortal)
        assert task.end > task.begin  # it has work that is never done
        run.lose("mortal")
        result = run.finish()
    assert result.workers == 1
    assert result.weights_digest == undisturbed.weights_digest


def test_answers_that_nobody_waits_for_change_nothing(
    plan: TrainingPlan, undisturbed: run_pb2.Result
) -> None:
    with running(plan, "w", "liar") as run, played(run, "liar", "frames") as liar:
        run.start("w", "frames")
        task = task_of(liar)
        for begin, end, number in (
            (task.begin, task.end, task.round - 1),
            (task.begin, task.end, task.round + 1),
            (task.begin, task.end - 1, task.round),
            (0, SHARDS, task.round),
        ):
            liar.sums[:] = 1e6
            lie = work_pb2.Answer(round=number, begin=begin, end=end, losses=[1e6], rows=7)
            liar.answer(lie, 3)
        for _ in range(2):
            answer_truly(liar, task)  # the second time it is a duplicate
        task_of(liar)
        run.lose("liar")
        result = run.finish()
    assert result.weights_digest == undisturbed.weights_digest
    assert result.e_in == undisturbed.e_in


def test_a_worker_may_join_in_mid_run(plan: TrainingPlan, undisturbed: run_pb2.Result) -> None:
    with running(plan, "first") as run, played(run, "first") as first:
        task = task_of(first)
        assert (task.begin, task.end) == (0, SHARDS)
        run.start("second")
        run.lose("first")
        result = run.finish()
    assert result.weights_digest == undisturbed.weights_digest


@contextmanager
def a_slow_worker(
    plan: TrainingPlan, vectors: Vectors
) -> Iterator[tuple[Run, WorkerEndpoint, WorkerEndpoint, work_pb2.Task, work_pb2.Task]]:
    """Run, a quick and a slow worker, and their tasks of the second step.

    The slow one has not answered and is late; the quick one has, and so it has been given the
    slow one's range.
    """
    with (
        running(plan, "quick", "slow") as run,
        played(run, "quick", vectors) as quick,
        played(run, "slow", vectors) as slow,
    ):
        for worker in (quick, slow):
            answer_truly(worker, task_of(worker))  # so that times are measured
        late = task_of(slow)
        answer_truly(quick, task_of(quick))
        run.wait_for_answer_of("quick")
        run.pass_time(2.0)
        copy = task_of(quick)
        assert copy == late
        yield run, quick, slow, copy, late


@pytest.mark.slow
@pytest.mark.parametrize("vectors", ["memory", "frames"])
def test_a_slow_workers_range_is_taken_over(
    plan: TrainingPlan, vectors: Vectors, undisturbed: run_pb2.Result
) -> None:
    with a_slow_worker(plan, vectors) as (run, quick, slow, copy, late):
        answer_truly(quick, copy)
        whole = task_of(quick)
        assert (whole.round, whole.begin, whole.end) == (late.round + 1, 0, SHARDS)
        slow.sums[:] = 1e6  # it still computes for the round before
        run.pass_time(2.0)
        answer_truly(slow, late)
        # Its answer is stale, but it is back, and now the quick one is late.
        assert task_of(slow) == whole
        answer_truly(slow, whole)
        task_of(slow)
        run.start("w", vectors)
        run.lose("slow")
        run.lose("quick")
        result = run.finish()
    assert result.weights_digest == undisturbed.weights_digest
    assert (result.e_in, result.e_out) == (undisturbed.e_in, undisturbed.e_out)


@pytest.mark.slow
def test_a_copy_that_nobody_waits_for_any_more_spoils_no_sum(
    plan: TrainingPlan, undisturbed: run_pb2.Result
) -> None:
    with a_slow_worker(plan, "memory") as (run, quick, slow, copy, late):
        # The sums that it was accepted with lay in this memory, and the round still needs them.
        quick.sums[:] = 1e6
        answer_truly(slow, late)
        task = task_of(slow)
        assert (task.round, task.end - task.begin) == (late.round + 1, SHARDS)
        answer_truly(quick, copy)
        answer_truly(slow, task)
        run.start("w")
        run.lose("slow")
        run.lose("quick")
        result = run.finish()
    assert result.weights_digest == undisturbed.weights_digest


@pytest.mark.slow
def test_a_silent_worker_is_expelled(plan: TrainingPlan, undisturbed: run_pb2.Result) -> None:
    with a_slow_worker(plan, "memory") as (run, quick, slow, copy, late):
        answer_truly(quick, copy)
        task = task_of(quick)
        run.pass_time(13.0)
        assert_stopped(slow)
        answer_truly(slow, late)
        answer_truly(quick, task)
        task_of(quick)
        run.start("w")
        run.lose("slow")  # as the runner notices when it has ended the worker
        run.lose("quick")
        reports = run.reports()
        run.workers[0].end()
    expelled = [report.expel for report in reports if report.WhichOneof("kind") == "expel"]
    reason = "slow was expelled: it has not answered for 15 s"
    assert expelled == [runner_pb2.ExpelWorker(worker="slow", reason=reason)]
    assert reports[-1].finished.workers == 1
    assert reports[-1].finished.weights_digest == undisturbed.weights_digest


def counted(reports: list[runner_pb2.RunReport]) -> run_pb2.DispatchCounts:
    """What the server's reports of its dispatch add up to."""
    run = run_pb2.Run()
    for report in reports:
        if report.HasField("dispatch"):
            history.apply(run, from_report(report))
    return run.dispatch


@pytest.mark.slow
def test_what_late_and_silent_workers_cost_is_reported(plan: TrainingPlan) -> None:
    with a_slow_worker(plan, "memory") as (run, quick, slow, copy, late):
        for _ in range(2):
            answer_truly(slow, late)  # the second time it is a duplicate
        task = task_of(slow)
        answer_truly(quick, copy)  # in vain
        run.pass_time(2.0)
        assert task_of(quick) == task
        run.pass_time(1.0)
        answer_truly(slow, task)
        task_of(slow)
        run.pass_time(14.0)
        assert_stopped(quick)
        run.cancel()
        reports = run.reports()
    assert reports[-1].HasField("cancelled")
    assert counted(reports) == run_pb2.DispatchCounts(
        stale_answers=1, copies=2, dropped_copies=1, expelled=1
    )


def test_a_run_without_trouble_reports_no_counts(plan: TrainingPlan) -> None:
    with running(plan, "w") as run:
        run.start("w")
        reports = run.reports()
    assert not [report for report in reports if report.HasField("dispatch")]


def memberships(reports: list[runner_pb2.RunReport]) -> list[tuple[str, bool, int, str]]:
    found = [r.membership for r in reports if r.WhichOneof("kind") == "membership"]
    return [(one.worker, one.joined, one.step, one.reason) for one in found]


@pytest.mark.slow
def test_a_worker_has_joined_when_its_first_answer_is_used(
    plan: TrainingPlan, undisturbed: run_pb2.Result
) -> None:
    with (
        running(plan, "useful", "useless") as run,
        played(run, "useful") as useful,
        played(run, "useless") as useless,
    ):
        useful_task, _ = task_of(useful), task_of(useless)
        run.command(lost("useless", "it was struck"))
        answer_truly(useful, useful_task)
        answer_truly(useful, task_of(useful))
        answer_truly(useful, task_of(useful))
        task_of(useful)
        run.start("w")
        run.command(lost("useful", "it was struck too"))
        reports = run.reports()
        run.workers[0].end()
    assert memberships(reports) == [
        ("useless", False, 0, "it was struck"),
        ("useful", True, 0, ""),
        ("useful", False, 2, "it was struck too"),
        ("w", True, 2, ""),
    ]
    assert reports[-1].finished.weights_digest == undisturbed.weights_digest


def lost(worker: str, reason: str) -> runner_pb2.Command:
    return runner_pb2.Command(worker_lost=runner_pb2.WorkerLost(worker=worker, reason=reason))


@pytest.mark.slow
@pytest.mark.parametrize("busy", [False, True])
def test_a_retired_worker_goes_when_it_has_answered(
    plan: TrainingPlan, busy: bool, undisturbed: run_pb2.Result
) -> None:
    with (
        running(plan, "w", "retired") as run,
        played(run, "w") as other,
        played(run, "retired") as retired,
    ):
        task, rest = task_of(retired), task_of(other)
        if not busy:
            answer_truly(retired, task)  # it waits for the other one
        run.command(runner_pb2.Command(worker_retired=runner_pb2.WorkerRetired(worker="retired")))
        if busy:
            answer_truly(retired, task)
        assert_stopped(retired)
        answer_truly(other, rest)
        whole = task_of(other)
        assert (whole.begin, whole.end) == (0, SHARDS)
        run.start("new")
        run.lose("w")
        reports = run.reports()
        run.workers[0].end()
    left = [one for one in memberships(reports) if one[3]]
    assert left == [("retired", False, 0, "retired was retired")]
    assert reports[-1].finished.weights_digest == undisturbed.weights_digest


def test_a_worker_that_is_retired_before_it_joins_gets_no_work(
    plan: TrainingPlan, undisturbed: run_pb2.Result
) -> None:
    with running(plan, "w") as run:
        run.command(runner_pb2.Command(worker_retired=runner_pb2.WorkerRetired(worker="late")))
        with played(run, "w") as worker:
            task_of(worker)
            with played(run, "late") as late:
                assert_stopped(late)
            run.lose("w")
        run.start("other")
        reports = run.reports()
        run.workers[0].end()
    left = [one for one in memberships(reports) if one[3]]
    assert ("late", False, 0, "late was retired") in left
    assert {one[0] for one in memberships(reports) if one[1]} == {"other"}
    assert reports[-1].finished.weights_digest == undisturbed.weights_digest


def test_a_worker_that_fails_is_lost_and_says_why(
    plan: TrainingPlan, undisturbed: run_pb2.Result
) -> None:
    with running(plan, "w", "sick") as run, played(run, "sick") as sick:
        run.start("w")
        task_of(sick)
        sick.fail("MemoryError: no room")
        reports = run.reports()
        run.workers[0].end()
    left = [one for one in memberships(reports) if one[3]]
    assert left == [("sick", False, 0, "sick failed: MemoryError: no room")]
    assert reports[-1].finished.weights_digest == undisturbed.weights_digest


def test_the_failure_of_a_worker_that_is_gone_or_never_joined_changes_nothing(
    plan: TrainingPlan, undisturbed: run_pb2.Result
) -> None:
    size = network().size
    with (
        running(plan, "w", "gone") as run,
        played(run, "gone") as gone,
        WorkerEndpoint(run.address, "stranger", size, sums_needed(SHARDS), "memory") as stranger,
    ):
        run.start("w")
        task_of(gone)
        stranger.fail("MemoryError: no room")
        run.lose("gone")
        gone.fail("MemoryError: no room")
        reports = run.reports()
        run.workers[0].end()
    assert {one[0] for one in memberships(reports)} == {"w", "gone"}
    assert reports[-1].finished.weights_digest == undisturbed.weights_digest


def test_a_run_in_which_nobody_answers_fails(plan: TrainingPlan) -> None:
    with running(plan, "w") as run, played(run, "w") as worker:
        task_of(worker)
        run.pass_time(300.0)
        assert_stopped(worker)
        run.pass_time(600.0)
        assert run.fail() == "no worker has answered for 600 s; see the run's logs"


def test_an_idle_worker_hears_of_the_server_while_others_work(plan: TrainingPlan) -> None:
    job = dataclasses.replace(plan.job, shards=1)
    with (
        running(dataclasses.replace(plan, job=job), "one", "other") as run,
        played(run, "one") as one,
        played(run, "other") as other,
    ):
        # The only shard goes to the one that the server has heard of first.
        poller = zmq.Poller()
        for endpoint in (one, other):
            poller.register(endpoint._socket, zmq.POLLIN)
        ((busy, _),) = poller.poll(SECONDS * 1000)
        idle = other if busy is one._socket else one
        run.pass_time(5.0)
        message = idle.receive(SECONDS)
        assert message is not None
        assert message.WhichOneof("kind") == "ping"


@pytest.mark.slow
def test_a_cancelled_run_stops_and_writes_no_weights(plan: TrainingPlan) -> None:
    with running(plan, "w", "slow") as run, played(run, "slow") as slow:
        run.start("w")
        task_of(slow)
        run.cancel()
        assert run.reports()[-1].WhichOneof("kind") == "cancelled"
        assert_stopped(slow)
        run.workers[0].end()
    assert not plan.weights_path.parent.exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_run_that_diverges_fails_at_the_step_and_writes_no_weights(plan: TrainingPlan) -> None:
    with running(dataclasses.replace(plan, descent=Descent(SGD(1e30))), "w0", "w1") as run:
        run.start("w0")
        run.start("w1")
        message = run.fail()
        for worker in run.workers:
            worker.end()
    assert message.startswith("step 2: the output of layer 2 (affine) is ")
    assert "in shard 0, so it was not applied" in message
    assert "smaller learning rate" in message
    assert not plan.weights_path.parent.exists()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["gradient", "loss"])
def test_one_value_that_is_not_finite_fails_the_step(plan: TrainingPlan, place: str) -> None:
    with running(plan, "w", "sick") as run, played(run, "sick") as sick:
        run.start("w")
        task = task_of(sick)
        sick.sums[:] = 0
        losses = [1.0] * (task.end - task.begin)
        if place == "gradient":
            sick.sums[0, 77] = np.nan
        else:
            losses[-1] = np.inf
        answer = work_pb2.Answer(round=task.round, begin=task.begin, end=task.end, losses=losses)
        sick.answer(answer, 1)
        answer_truly(sick, task_of(sick))  # the diagnosis
        assert run.fail().startswith(
            "step 1: the gradient or loss was NaN or infinite, but not when it was computed again"
        )
        assert_stopped(sick)
        run.workers[0].end()


def test_losses_are_summed_exactly(plan: TrainingPlan) -> None:
    with running(dataclasses.replace(plan, steps=1), "w") as run, played(run, "w") as played_worker:
        losses = [1e16, 1.0, 1.0, -1e16]
        # One step, one chunk of test rows, three chunks of training rows.
        for units in (SHARDS, 1, 3):
            task = task_of(played_worker)
            assert (task.begin, task.end) == (0, units)
            answer = work_pb2.Answer(round=task.round, end=units, losses=losses, rows=BATCH)
            played_worker.answer(answer, 1)
            losses = [0.0] * 3
        reports = run.reports()
    epochs = [report.epoch for report in reports if report.WhichOneof("kind") == "epoch"]
    assert epochs[0].e_in == 2 / BATCH


@dataclass(frozen=True)
class Vanishing:
    """A data file that is gone between a worker's look at its headers and its reading."""

    path: Path

    def describe(self) -> Description:
        return Npz(self.path).describe()

    def load(self) -> Dataset:
        self.path.unlink()
        return Npz(self.path).load()


def test_when_a_run_fails_at_its_start_every_worker_that_has_come_is_stopped(
    plan: TrainingPlan,
) -> None:
    with running(plan, "w0", "w1", "broken") as run:
        size = network().size
        with WorkerEndpoint(run.address, "broken", size, sums_needed(SHARDS), "memory") as broken:
            broken.fail("no disk", permanent=True)
            with played(run, "w0") as w0, played(run, "w1") as w1:
                assert run.fail() == "broken failed: no disk"
                assert_stopped(w0)
                assert_stopped(w1)


def test_a_worker_that_cannot_read_its_data_fails_the_run(
    plan: TrainingPlan, tmp_path: Path
) -> None:
    path = tmp_path / "data.npz"
    x, y = np.ones((4, 3), np.float32), np.array([0, 1, 0, 1])
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
    job = dataclasses.replace(plan.job, source=Vanishing(path), batch_size=2, shards=2)
    with running(dataclasses.replace(plan, job=job), "w") as run:
        run.start("w")
        message = run.fail()
        with pytest.raises(DatasetError):
            run.workers[0].end()
    assert message.startswith("w failed: DatasetError: ")
    assert str(path) in message
    assert not plan.weights_path.parent.exists()


def test_a_target_that_the_loss_cannot_read_fails_the_run_and_is_named(
    plan: TrainingPlan, tmp_path: Path
) -> None:
    source = targets(-1, 1, tmp_path / "data.npz")
    layers = (Affine(2),)
    job = dataclasses.replace(plan.job, source=source, layers=layers, loss=SignedLogistic())
    with running(dataclasses.replace(plan, job=job), "w") as run:
        run.start("w")
        message = run.fail()
        with pytest.raises(TargetError):
            run.workers[0].end()
    bad = source.load().train.y[0, 0]
    assert message == (
        "w failed: TargetError: signed_logistic needs −1 and 1 as targets, the data has "
        f"{bad}; convert the targets"
    )


def test_memory_that_cannot_be_shared_fails_the_run(plan: TrainingPlan) -> None:
    with running(plan, "w") as run:
        size = network().size + 1
        with WorkerEndpoint(run.address, "w", size, sums_needed(SHARDS), "memory") as endpoint:
            endpoint.join(data_digest(Digits().load()))
            assert run.fail() == "w cannot share memory: w has a network of another size"


def test_weights_that_cannot_be_written_fail_the_run(plan: TrainingPlan, tmp_path: Path) -> None:
    path = tmp_path / "taken"
    path.mkdir()
    with running(dataclasses.replace(plan, steps=1, weights_path=path), "w") as run:
        run.start("w")
        message = run.fail()
        run.workers[0].end()
    assert message.startswith(f"the weights cannot be written to {path}: ")
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]


# The digest and the file.


def test_the_digest_depends_on_values_names_and_shapes() -> None:
    flat = np.arange(14, dtype=np.float32)
    networks = [
        Network((Affine(2),), (6,)),
        Network((Affine(7),), (1,)),
        Network((Flatten(), Affine(2)), (6,)),
    ]
    assert {net.size for net in networks} == {14}
    found = {digest(net, flat) for net in networks}
    changed = flat.copy()
    changed[13] = np.nextafter(changed[13], np.float32(99))
    found.add(digest(networks[0], changed))
    assert len(found) == 4
    assert digest(networks[0], flat.copy()) == digest(networks[0], flat)


def test_the_digest_is_sha256_of_layout_and_bytes() -> None:
    net = Network((Affine(2),), (3,))
    flat = np.arange(8, dtype=np.float32)
    layout = json.dumps([["0.W", [2, 3]], ["0.b", [2]]], separators=(",", ":"))
    expected = hashlib.sha256(layout.encode() + flat.astype("<f4").tobytes()).hexdigest()
    assert digest(net, flat) == expected


def test_weights_replace_those_that_were_there(tmp_path: Path) -> None:
    net = Network((Affine(2),), (3,))
    path = tmp_path / "a" / "b" / "w.safetensors"
    for start in (0, 5):
        flat = np.arange(start, start + 8, dtype=np.float32)
        write_weights(path, net, flat, {"key": "value"})
        found = load_file(path)
        np.testing.assert_array_equal(found["0.W"], flat[:6].reshape(2, 3))
        np.testing.assert_array_equal(found["0.b"], flat[6:])
    assert [entry.name for entry in path.parent.iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize("at", ["os.fsync", "pathlib.Path.replace"])
def test_a_write_that_fails_leaves_the_old_weights_whole(
    at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Network((Affine(2),), (3,))
    path = tmp_path / "w.safetensors"
    write_weights(path, net, np.zeros(8, np.float32), {})
    before = path.read_bytes()
    failed: list[str] = []

    def full(*args: object) -> None:
        failed.append(at)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(at, full)
        with pytest.raises(OSError, match="No space left"):
            write_weights(path, net, np.ones(8, np.float32), {})
    assert failed
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.safetensors"]
