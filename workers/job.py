"""What a worker is to work on; it gets this once, when it starts."""

from __future__ import annotations

from dataclasses import dataclass

from sumgrad.layers import Layer, Loss, Network, Targets
from sumgrad.workers.datasets import Description, Source
from sumgrad.workers.sampling import Sampling, default_shards


@dataclass(frozen=True)
class Job:
    """A network, a loss, the data and how batches are drawn from it.

    Attributes:
        batch_size: rows of a step, or None for all training rows.
        shards: pieces of a batch, or None for the default of its size.
    """

    source: Source
    layers: tuple[Layer, ...]
    loss: Loss
    seed: int
    batch_size: int | None
    shards: int | None

    def network(self, data: Description) -> Network:
        return Network(self.layers, data.sample_shape)

    def sampling(self, data: Description) -> Sampling:
        batch_size = self.batch_size or data.train_rows
        shards = self.shards or default_shards(batch_size)
        return Sampling(self.seed, data.train_rows, batch_size, shards)

    def targets(self, data: Description) -> Targets:
        return Targets(data.classes, data.target_shape, data.sample_shape)
