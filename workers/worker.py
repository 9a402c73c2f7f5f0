"""One worker: forward and backward over shards, summed along the fixed tree."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np

from sumgrad.layers.base.arrays import Array
from sumgrad.layers.base.context import Key, Workspace
from sumgrad.workers.datasets import Dataset, Split
from sumgrad.workers.diagnosis import diagnose
from sumgrad.workers.job import Job
from sumgrad.workers.sampling import Rows
from sumgrad.workers.summation_tree import Node, cover
from sumgrad.workers.v1 import work_pb2

EVALUATION_ROWS = 512
"""Rows of a chunk, the unit in which losses are evaluated; fixed, so that sums are too."""

Batch = tuple[Array, Array]


def chunks(rows: int) -> int:
    """Units of an evaluation over this many rows."""
    return math.ceil(rows / EVALUATION_ROWS)


def sums_needed(shards: int) -> int:
    """Rows of gradient memory that any range of this many shards can need at once."""
    return 2 * shards.bit_length() + 1


class Worker:
    """Computes tasks for one run; knows neither Ray nor sockets.

    Args:
        weights: the flat vector that the network reads, filled by the channel.
        sums: (sums_needed(shards), size) vectors that gradients are written into.

    Raises:
        TargetError: the loss cannot read a value of the targets.
    """

    def __init__(self, job: Job, data: Dataset, weights: Array, sums: Array) -> None:
        self._data = data
        self._loss = job.loss
        for split in (data.train, data.test):
            job.loss.check_values(split.y)
        self._sampling = job.sampling(data.description)
        self._network = job.network(data.description)
        self._weights = self._network.views(weights)
        self._sums = sums
        self._gradients = [self._network.views(row) for row in sums]
        self._seed = job.seed
        self._workspace = Workspace()
        self._gathered: tuple[tuple[int, int, int], list[Batch]] | None = None

    def compute(self, task: work_pb2.Task) -> tuple[work_pb2.Answer, int]:
        """The answer to a task, and how many rows of ``sums`` belong to it."""
        started = time.perf_counter()
        answer = work_pb2.Answer(round=task.round, begin=task.begin, end=task.end)
        vectors = 0
        match task.WhichOneof("work"):
            case "gradient":
                vectors = self._gradient(task, answer)
            case "diagnosis":
                self._diagnose(task, answer)
            case _:
                for x, y in self._chunks(task):
                    scores, _ = self._network.forward(self._weights, x, workspace=self._workspace)
                    self._tally(answer, self._loss.forward(scores, y)[0], scores, y)
        answer.compute_seconds = time.perf_counter() - started
        return answer, vectors

    def gather_ahead(self, task: work_pb2.Task) -> None:
        """Fetch the rows of the next step while the server applies this one."""
        if task.WhichOneof("work") == "gradient":
            self._shards(task.gradient.step + 1, task.begin, task.end)

    def _gradient(self, task: work_pb2.Task, answer: work_pb2.Answer) -> int:
        batches = self._shards(task.gradient.step, task.begin, task.end)

        def sum_into(row: int, node: Node) -> None:
            if node.size == 1:
                key = (self._seed, task.gradient.step, node.begin)
                self._shard_gradient(row, key, *batches[node.begin - task.begin], answer)
                return
            sum_into(row, node.left)
            sum_into(row + 1, node.right)
            self._sums[row] += self._sums[row + 1]

        nodes = cover(task.begin, task.end)
        for row, node in enumerate(nodes):
            sum_into(row, node)
        return len(nodes)

    def _diagnose(self, task: work_pb2.Task, answer: work_pb2.Answer) -> None:
        step = task.diagnosis.step
        for shard, (x, y) in enumerate(self._shards(step, task.begin, task.end), task.begin):
            if len(x) > 0:
                key = (self._seed, step, shard)
                problem = diagnose(self._network, self._loss, self._weights, x, y, key)
                if problem is not None:
                    answer.findings.add(shard=shard, problem=problem)

    def _shard_gradient(
        self, row: int, key: Key, x: Array, y: Array, answer: work_pb2.Answer
    ) -> None:
        if len(x) == 0:
            self._sums[row] = 0
            self._tally(answer, 0.0, np.empty((0, *self._network.output_shape), np.float32), y)
            return
        scores, backward = self._network.forward(self._weights, x, key, self._workspace)
        loss, dscores = self._loss.forward(scores, y)
        self._tally(answer, loss, scores, y)
        backward(dscores, self._gradients[row])

    def _tally(self, answer: work_pb2.Answer, loss: float, scores: Array, y: Array) -> None:
        answer.losses.append(loss)
        answer.rows += len(scores)
        answer.metric.extend(self._loss.measure(scores, y))

    def _shards(self, step: int, begin: int, end: int) -> list[Batch]:
        key = (step, begin, end)
        if self._gathered is None or self._gathered[0] != key:
            rows = self._sampling.shard_rows(step)[begin:end]
            self._gathered = (key, [self._batch(self._data.train, part) for part in rows])
        return self._gathered[1]

    def _chunks(self, task: work_pb2.Task) -> Iterator[Batch]:
        split: Split = (
            self._data.train if task.evaluation.split == work_pb2.SPLIT_TRAIN else self._data.test
        )
        for chunk in range(task.begin, task.end):
            first = chunk * EVALUATION_ROWS
            yield self._batch(split, np.arange(first, min(first + EVALUATION_ROWS, len(split))))

    def _batch(self, split: Split, rows: Rows) -> Batch:
        x, y = split.batch(rows)
        return (x, x) if self._loss.unsupervised else (x, y)
