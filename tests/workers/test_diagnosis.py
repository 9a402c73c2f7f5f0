"""A step whose loss or gradient is not finite: where it comes from, and what becomes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from sumgrad.layers import Affine, AffineReLU, Dropout, Flatten, Layer, Loss, Network, Tanh
from sumgrad.layers.losses import CrossEntropy, SquaredError
from sumgrad.trainer.arithmetic.update_rules import Descent
from sumgrad.trainer.server.training_plan import TrainingPlan
from sumgrad.trainer.v1 import runner_pb2
from sumgrad.trainer.weights.layout import digest
from sumgrad.workers.datasets import Digits, Npz
from sumgrad.workers.diagnosis import diagnose
from sumgrad.workers.sampling import Sampling

from support.gradient_check import Array
from support.leftovers import nothing_left_behind
from support.training import BATCH, PLAN, ROWS, SHARDS, Noting, running, train

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

KEY = (1, 2, 3)


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with threadpool_limits(1), nothing_left_behind():
        yield


# Where it comes from.


def found(
    layers: tuple[Layer, ...], loss: Loss, flat: Array, x: Array, y: Array | None = None
) -> str | None:
    network = Network(layers, (2,))
    x = np.array(x, np.float32)
    targets = np.zeros(len(x), np.int64) if y is None else np.array(y, np.float32)
    return diagnose(network, loss, network.views(np.array(flat, np.float32)), x, targets, KEY)


ONES = [[1.0, 1.0], [1.0, 1.0]]


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        ([[1, 1], [np.nan, 1]], "the input is NaN"),
        ([[1, -np.inf], [1, 1]], "the input is infinite"),
    ],
)
def test_an_input_is_named_first(x: Array, expected: str) -> None:
    assert found((Affine(1),), SquaredError(), [1, 1, 0], x, [[0], [0]]) == expected


def test_the_first_layer_whose_output_is_not_finite_is_named() -> None:
    layers = (Flatten(), Affine(1), Tanh(), AffineReLU(2))
    weights = [1, 1, 0, 1, np.nan, 0, 0]
    expected = "the output of layer 3 (affine_relu) is NaN"
    assert found(layers, CrossEntropy(), weights, ONES) == expected
    weights[1] = np.inf
    expected = "the output of layer 1 (affine) is infinite"
    assert found(layers, CrossEntropy(), weights, ONES) == expected


def test_a_loss_of_finite_scores_is_named() -> None:
    assert found((Affine(1),), SquaredError(), [1e30, 1, 0], ONES, [[0], [0]]) == (
        "the loss is infinite"
    )


def test_the_gradient_is_named_by_layer_and_parameter_where_the_way_back_meets_it() -> None:
    # Scores of about 1e18 have squares that fit, but not the product with an input of 1e25.
    layers = (Dropout(0.0), Affine(1), Affine(1))
    weights = [1e-7, 0, 0, 1, 0]
    assert found(layers, SquaredError(), weights, [[1e25, 1e25]], [[0]]) == (
        "the gradient of layer 1 (affine) W is infinite"
    )


def test_where_everything_is_finite_nothing_is_found() -> None:
    assert found((Affine(1),), SquaredError(), [1, 1, 0], ONES, [[0], [0]]) is None


# What becomes of it. One training row has values whose gradients do not fit.

BAD_STEP, BAD_SHARD = 5, 2
"""Where that row is in the first epoch, both counted from 0."""

ROW = int(Sampling(PLAN.job.seed, ROWS, BATCH, SHARDS).shard_rows(BAD_STEP)[BAD_SHARD][0])
LAYERS = (AffineReLU(8), Affine(10))


@pytest.fixture
def plan(tmp_path: Path) -> TrainingPlan:
    data = Digits().load()
    arrays = {f"y_{name}": split.y for name, split in data_splits(data)}
    for name, split in data_splits(data):
        arrays[f"x_{name}"] = split.x.reshape(len(split), 64).astype(np.float32) / 16
    arrays["x_train"][ROW] = 3e38
    np.savez(tmp_path / "data.npz", **arrays)
    job = dataclasses.replace(PLAN.job, source=Npz(tmp_path / "data.npz"), layers=LAYERS)
    return dataclasses.replace(PLAN, job=job, weights_path=tmp_path / "w.safetensors")


def data_splits(data: object) -> list[tuple[str, object]]:
    return [(name, getattr(data, name)) for name in ("train", "test")]


def warnings(reports: list[runner_pb2.RunReport]) -> list[str]:
    return [r.warning.message for r in reports if r.WhichOneof("kind") == "warning"]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_run_fails_and_names_step_shard_and_layer(plan: TrainingPlan, workers: int) -> None:
    names = [f"w{i}" for i in range(workers)]
    with running(plan, *names) as run:
        for name in names:
            run.start(name)
        message = run.fail()
        for worker in run.workers:
            worker.end()
    assert message.startswith(f"step {BAD_STEP + 1}: the output of layer 0 (affine_relu) is ")
    assert f" in shard {BAD_SHARD}, so it was not applied; try a smaller learning rate" in message
    assert not plan.weights_path.exists()


def test_a_skipped_step_leaves_the_weights_as_they_were(plan: TrainingPlan) -> None:
    before = train(dataclasses.replace(plan, steps=BAD_STEP))
    skipping = dataclasses.replace(plan, steps=BAD_STEP + 1, non_finite="skip")
    with running(skipping, "w") as run:
        run.start("w")
        reports = run.reports()
        run.workers[0].end()
    after = reports[-1].finished
    assert after.weights_digest == before.weights_digest
    assert (before.skipped_steps, after.skipped_steps) == (0, 1)
    progress = [r.progress for r in reports if r.WhichOneof("kind") == "progress"]
    assert (progress[-1].step, progress[-1].skipped_steps) == (BAD_STEP + 1, 1)
    [warning] = warnings(reports)
    assert warning.startswith(f"step {BAD_STEP + 1}: the output of layer 0 (affine_relu) is ")
    assert warning.endswith(
        f" in shard {BAD_SHARD}, so it was not applied (skipped steps so far: 1)"
    )


@pytest.mark.slow
def test_any_number_of_workers_skips_the_same_steps(plan: TrainingPlan) -> None:
    skipping = dataclasses.replace(plan, non_finite="skip")
    results = [train(skipping, workers) for workers in (1, 2, 3)]
    assert {result.skipped_steps for result in results} == {1}
    assert len({result.weights_digest for result in results}) == 1
    assert results[0].e_out < 2.4, "it has learnt nothing"


def test_the_schedule_moves_on_over_a_skipped_step_and_the_rule_does_not(
    plan: TrainingPlan,
) -> None:
    rule = Noting(0.5)
    skipping = dataclasses.replace(
        plan, descent=Descent(rule), warmup_steps=1000, non_finite="skip"
    )
    train(skipping)
    steps = [number for number in range(1, 16) if number != BAD_STEP + 1]
    assert rule.noted == [(0.5 * (number / 1000), number) for number in steps]


def test_skipped_steps_are_told_ever_less_often(plan: TrainingPlan) -> None:
    job = dataclasses.replace(plan.job, batch_size=None)
    every_step = dataclasses.replace(plan, job=job, steps=9, non_finite="skip")
    with running(every_step, "w") as run:
        run.start("w")
        reports = run.reports()
        run.workers[0].end()
    assert [text.partition(":")[0] for text in warnings(reports)] == [
        "step 1", "step 2", "step 4", "step 8",
    ]  # fmt: skip
    result = reports[-1].finished
    assert result.skipped_steps == 9
    network = Network(LAYERS, (64,))
    assert result.weights_digest == digest(network, network.init(PLAN.job.seed))
