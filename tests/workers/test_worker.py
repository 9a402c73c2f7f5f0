"""A worker: the summed gradient of any range of shards, bit for bit the same however cut."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sumgrad.layers import Affine, AffineReLU, Flatten, Layer, Loss, Network, TargetError
from sumgrad.layers.losses import CrossEntropy, Reconstruction, SignedLogistic, SquaredError
from sumgrad.workers.datasets import Dataset, Description, Split
from sumgrad.workers.job import Job
from sumgrad.workers.summation_tree import additions, cover
from sumgrad.workers.v1 import work_pb2
from sumgrad.workers.worker import EVALUATION_ROWS, Worker, chunks, sums_needed

from support.gradient_check import Array, assert_gradient

FEATURES, CLASSES, HIDDEN = 6, 4, 7


@dataclass(frozen=True)
class Made:
    """A data set made from a seed; targets are class numbers or vectors."""

    train_rows: int
    test_rows: int = 1
    vectors: bool = False

    def describe(self) -> Description:
        return Description(
            (2, 3),
            self.train_rows,
            self.test_rows,
            classes=None if self.vectors else CLASSES,
            target_shape=(CLASSES,) if self.vectors else None,
        )

    def load(self) -> Dataset:
        rng = np.random.default_rng(5)

        def split(rows: int) -> Split:
            x = rng.standard_normal((rows, 2, 3)).astype(np.float32)
            if self.vectors:
                return Split(x, rng.standard_normal((rows, CLASSES)).astype(np.float32), 1.0)
            return Split(x, rng.integers(0, CLASSES, rows), 1.0)

        return Dataset(self.describe(), split(self.train_rows), split(self.test_rows))


LAYERS = (Flatten(), AffineReLU(HIDDEN), Affine(CLASSES))


class Rig:
    """One worker with memory of its own, as after joining a server."""

    def __init__(
        self,
        source: Made,
        batch_size: int,
        shards: int,
        loss: Loss | None = None,
        layers: tuple[Layer, ...] = LAYERS,
    ) -> None:
        self.job = Job(source, layers, loss or CrossEntropy(), 3, batch_size, shards)
        self.data = source.load()
        self.network: Network = self.job.network(self.data.description)
        self.sampling = self.job.sampling(self.data.description)
        self.weights = self.network.init(3)
        # Old gradients must not show through.
        self.sums = np.full((sums_needed(shards), self.network.size), np.nan, np.float32)
        self.worker = Worker(self.job, self.data, self.weights, self.sums)

    def gradient(self, step: int, begin: int, end: int) -> tuple[work_pb2.Answer, list[Array]]:
        """The answer for shards [begin, end), and its vectors."""
        answer, count = self.worker.compute(gradient_task(step, begin, end))
        assert count == len(cover(begin, end))
        return answer, [row.copy() for row in self.sums[:count]]

    def whole(self, step: int, cuts: list[int]) -> tuple[Array, list[float], int]:
        """Total gradient, losses in shard order and rows, from the ranges between cuts."""
        nodes, sums, losses, rows = [], [], [], 0
        for begin, end in pairwise(cuts):
            answer, vectors = self.gradient(step, begin, end)
            nodes += cover(begin, end)
            sums += vectors
            losses += answer.losses
            rows += answer.rows
        for i, j in additions(nodes, self.sampling.shards):
            sums[i] += sums[j]
        return sums[0], losses, rows


def gradient_task(step: int, begin: int, end: int) -> work_pb2.Task:
    return work_pb2.Task(round=9, begin=begin, end=end, gradient=work_pb2.Gradient(step=step))


def evaluation_task(split: work_pb2.Split, begin: int, end: int) -> work_pb2.Task:
    return work_pb2.Task(round=9, begin=begin, end=end, evaluation=work_pb2.Evaluation(split=split))


def forward_by_einsum(rig: Rig, x: Array) -> tuple[Array, Array, Array]:
    """Rows, hidden layer and scores in float64."""
    views = rig.network.views(rig.weights.astype(np.float64))
    rows = x.reshape(len(x), FEATURES).astype(np.float64)
    hidden = np.einsum("bi,oi->bo", rows, views[1]["W"]) + views[1]["b"]
    hidden *= hidden > 0
    return rows, hidden, np.einsum("bi,oi->bo", hidden, views[2]["W"]) + views[2]["b"]


def gradient_by_einsum(rig: Rig, step: int) -> tuple[Array, float]:
    """Summed gradient and loss of a step in float64.

    Formulas: docs/mathematics.md#5-vector-layers and docs/mathematics.md#7-losses.
    """
    chosen = rig.sampling.step_rows(step)
    x, y = rig.data.train.x[chosen], rig.data.train.y[chosen]
    rows, hidden, scores = forward_by_einsum(rig, x)
    if rig.data.description.classes is None:
        ds, loss = 2 * (scores - y), float(((scores - y) ** 2).sum())
    else:
        p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        ds, loss = p - np.eye(CLASSES)[y], float(-np.log(p[np.arange(len(y)), y]).sum())
    W = rig.network.views(rig.weights.astype(np.float64))[2]["W"]
    dhidden = np.einsum("bo,oi->bi", ds, W) * (hidden > 0)
    parts = [
        np.einsum("bo,bi->oi", dhidden, rows),
        dhidden.sum(axis=0),
        np.einsum("bo,bi->oi", ds, hidden),
        ds.sum(axis=0),
    ]
    return np.concatenate([part.ravel() for part in parts]), loss


@pytest.mark.parametrize("vectors", [False, True])
def test_the_gradient_is_that_of_the_summed_loss(vectors: bool) -> None:
    loss: Loss = SquaredError() if vectors else CrossEntropy()
    rig = Rig(Made(100, vectors=vectors), batch_size=24, shards=4, loss=loss)
    for step in (0, 3, 4, 7):
        total, losses, rows = rig.whole(step, [0, 4])
        expected, expected_loss = gradient_by_einsum(rig, step)
        np.testing.assert_allclose(total, expected, rtol=1e-4, atol=1e-5)
        assert sum(losses) == pytest.approx(expected_loss, rel=1e-5)
        assert rows == len(rig.sampling.step_rows(step))


def test_the_oracle_itself_agrees_with_central_differences() -> None:
    rig = Rig(Made(100), batch_size=24, shards=4)
    rig.weights = rig.weights.astype(np.float64)
    gradient, _ = gradient_by_einsum(rig, 0)

    def summed_loss(weights: Array) -> float:
        rig.weights = weights
        return gradient_by_einsum(rig, 0)[1]

    assert_gradient(summed_loss, rig.weights, gradient)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(st.integers(1, 12), st.sets(st.integers(1, 11), max_size=5), st.integers(0, 4))
def test_any_split_of_the_shards_gives_the_same_bits(
    shards: int, cuts: set[int], step: int
) -> None:
    rig = Rig(Made(100), batch_size=30, shards=shards)
    alone = rig.whole(step, [0, shards])
    together = rig.whole(step, [0, *sorted(cut for cut in cuts if cut < shards), shards])
    assert together[0].tobytes() == alone[0].tobytes()
    assert together[1:] == alone[1:]


def test_two_workers_give_the_bits_of_one() -> None:
    source = Made(100)
    alone = Rig(source, 30, 4).whole(0, [0, 4])[0]
    _, left = Rig(source, 30, 4).gradient(0, 0, 2)
    _, right = Rig(source, 30, 4).gradient(0, 2, 4)
    assert (left[0] + right[0]).tobytes() == alone.tobytes()


@pytest.mark.slow
def test_every_range_fits_into_the_rows_it_is_given() -> None:
    for shards in range(1, 18):
        rig = Rig(Made(40), batch_size=20, shards=shards)
        for end in range(1, shards + 1):
            for begin in range(end):
                rig.gradient(0, begin, end)


@pytest.mark.parametrize("shards", [1, 2, 3, 64, 1000, 1024])
def test_the_rows_needed_bound_every_range(shards: int) -> None:
    # Node i is summed in row i and its right halves below it, one row a level.
    ends = range(1, shards + 1)
    ranges = [(0, end) for end in ends] + [(begin, shards) for begin in range(shards)]
    ranges += [(1, end) for end in ends[1:]]
    for begin, end in ranges:
        deepest = max(i + node.size.bit_length() for i, node in enumerate(cover(begin, end)))
        assert deepest <= sums_needed(shards)


def test_an_empty_shard_adds_zeros() -> None:
    # Ten rows in steps of eight: the last step has two rows for four shards.
    rig = Rig(Made(10), batch_size=8, shards=4)
    answer, vectors = rig.gradient(1, 2, 3)
    assert not vectors[0].any()
    assert (list(answer.losses), answer.rows, list(answer.metric)) == ([0], 0, [0, 0])
    total, losses, rows = rig.whole(1, [0, 1, 3, 4])
    np.testing.assert_allclose(total, gradient_by_einsum(rig, 1)[0], rtol=1e-4, atol=1e-5)
    assert (len(losses), rows) == (4, 2)


def test_weights_are_read_when_the_task_is_computed() -> None:
    rig = Rig(Made(100), batch_size=24, shards=4)
    rig.whole(0, [0, 4])
    rig.weights *= 2
    total, _, _ = rig.whole(0, [0, 4])
    np.testing.assert_allclose(total, gradient_by_einsum(rig, 0)[0], rtol=1e-4, atol=1e-5)


def test_weights_and_data_are_left_unchanged() -> None:
    rig = Rig(Made(100), batch_size=24, shards=4)
    before = rig.weights.copy(), rig.data.train.x.copy(), rig.data.train.y.copy()
    rig.whole(0, [0, 1, 4])
    after = rig.weights, rig.data.train.x, rig.data.train.y
    for was, now in zip(before, after, strict=True):
        np.testing.assert_array_equal(now, was)


def test_gathering_ahead_changes_nothing() -> None:
    plain, ahead = (Rig(Made(50), batch_size=20, shards=4) for _ in range(2))
    # In order, skipping a step, changing the range, and going back.
    courses = [(0, 0, 2), (1, 0, 2), (3, 0, 2), (4, 2, 4), (5, 3, 4), (6, 3, 3), (6, 2, 3)]
    for step, begin, end in [*courses, (6, 2, 3), (0, 0, 4)]:
        task = gradient_task(step, begin, end)
        expected, expected_sums = plain.gradient(step, begin, end)
        answer, sums = ahead.gradient(step, begin, end)
        ahead.worker.gather_ahead(task)
        ahead.worker.gather_ahead(evaluation_task(work_pb2.SPLIT_TRAIN, 0, 1))
        assert list(answer.losses) == list(expected.losses)
        assert [row.tobytes() for row in sums] == [row.tobytes() for row in expected_sums]


def test_an_answer_repeats_its_task() -> None:
    rig = Rig(Made(100), batch_size=24, shards=4)
    answer, _ = rig.worker.compute(gradient_task(0, 1, 3))
    assert (answer.round, answer.begin, answer.end) == (9, 1, 3)
    assert answer.compute_seconds >= 0


def test_each_shard_is_measured_for_the_metric_of_the_loss() -> None:
    rig = Rig(Made(100), batch_size=24, shards=4)
    answer, _ = rig.worker.compute(gradient_task(0, 0, 4))
    expected = []
    for rows in rig.sampling.shard_rows(0):
        _, _, scores = forward_by_einsum(rig, rig.data.train.x[rows])
        expected += [len(rows), (scores.argmax(axis=1) == rig.data.train.y[rows]).sum()]
    assert list(answer.metric) == expected

    regression = Rig(Made(100, vectors=True), batch_size=24, shards=4, loss=SquaredError())
    answer, _ = regression.worker.compute(gradient_task(0, 0, 4))
    expected = []
    for rows in regression.sampling.shard_rows(0):
        y = regression.data.train.y[rows].astype(np.float64)
        _, _, scores = forward_by_einsum(regression, regression.data.train.x[rows])
        expected += [len(rows), ((y - scores) ** 2).sum(), *y.sum(axis=0), *(y**2).sum(axis=0)]
    np.testing.assert_allclose(answer.metric, expected, rtol=1e-5)


def test_an_unsupervised_loss_has_the_input_as_target() -> None:
    layers = (Affine(HIDDEN), Affine(FEATURES))
    rig = Rig(Made(100, 20), batch_size=24, shards=4, loss=Reconstruction(), layers=layers)
    W, b, V, c = (
        rig.network.views(rig.weights.astype(np.float64))[i][name] for i in (0, 1) for name in "Wb"
    )
    x = rig.data.train.x[rig.sampling.step_rows(0)].reshape(24, FEATURES).astype(np.float64)
    hidden = np.einsum("bi,oi->bo", x, W) + b
    ds = 2 * (np.einsum("bi,oi->bo", hidden, V) + c - x)
    dhidden = np.einsum("bo,oi->bi", ds, V)
    parts = [
        np.einsum("bo,bi->oi", dhidden, x),
        dhidden.sum(axis=0),
        np.einsum("bo,bi->oi", ds, hidden),
        ds.sum(axis=0),
    ]
    total, losses, _ = rig.whole(0, [0, 4])
    np.testing.assert_allclose(
        total, np.concatenate([part.ravel() for part in parts]), rtol=1e-4, atol=1e-4
    )
    assert sum(losses) == pytest.approx((ds**2).sum() / 4, rel=1e-5)

    x = rig.data.test.x.reshape(20, FEATURES)
    error = np.einsum("bi,oi->bo", np.einsum("bi,oi->bo", x, W) + b, V) + c - x
    answer, _ = rig.worker.compute(evaluation_task(work_pb2.SPLIT_TEST, 0, 1))
    np.testing.assert_allclose(answer.metric, [20 * FEATURES, (error**2).sum()], rtol=1e-5)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_target_that_the_loss_cannot_read_is_refused_at_the_start(split: str) -> None:
    source = Made(10, 10, vectors=True)
    data = source.load()
    good, bad = np.ones((10, CLASSES), np.float32), np.ones((10, CLASSES), np.float32)
    bad[7, 2] = 0.25
    splits = {name: Split(data.train.x, good, 1.0) for name in ("train", "test")}
    splits[split] = Split(data.train.x, bad, 1.0)
    job = Job(source, LAYERS, SignedLogistic(), 3, batch_size=5, shards=1)
    with pytest.raises(TargetError, match=r"the data has 0\.25"):
        Worker(job, Dataset(data.description, **splits), np.zeros(1), np.zeros((1, 1)))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(1, 1), (EVALUATION_ROWS, 1), (EVALUATION_ROWS + 1, 2), (10 * EVALUATION_ROWS, 10)],
)
def test_an_evaluation_has_a_unit_for_every_begun_chunk(rows: int, expected: int) -> None:
    assert chunks(rows) == expected


@pytest.mark.slow
@pytest.mark.parametrize("split", [work_pb2.SPLIT_TRAIN, work_pb2.SPLIT_TEST])
def test_evaluated_chunks_sum_to_the_split(split: work_pb2.Split) -> None:
    rig = Rig(Made(2 * EVALUATION_ROWS + 76, EVALUATION_ROWS + 1), batch_size=20, shards=4)
    data = rig.data.train if split == work_pb2.SPLIT_TRAIN else rig.data.test
    units = chunks(len(data))
    whole, vectors = rig.worker.compute(evaluation_task(split, 0, units))
    pieces = [rig.worker.compute(evaluation_task(split, i, i + 1))[0] for i in range(units)]
    assert vectors == 0
    assert whole.rows == sum(piece.rows for piece in pieces) == len(data)
    assert list(whole.losses) == [piece.losses[0] for piece in pieces]
    assert list(whole.metric) == [value for piece in pieces for value in piece.metric]

    _, _, scores = forward_by_einsum(rig, data.x)
    losses = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(data)), data.y]
    assert sum(whole.losses) == pytest.approx(losses.sum(), rel=1e-5)
    right = (scores.argmax(axis=1) == data.y).sum()
    assert (sum(whole.metric[::2]), sum(whole.metric[1::2])) == (len(data), right)
