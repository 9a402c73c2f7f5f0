"""Shapes and work of a network, layer by layer, without building any array."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sumgrad.layers import LayerShapeError, Network
from sumgrad.layers.base.arrays import Shape
from sumgrad.trainer.spec.fit import describe_data, mistakes, size_mistakes
from sumgrad.trainer.spec.run_spec import RunSpec
from sumgrad.trainer.spec.violations import InvalidSpecError, Violation
from sumgrad.workers.datasets import Description
from sumgrad.workers.sampling import default_shards

FLOAT_BYTES = 4


@dataclass(frozen=True)
class LayerWork:
    """One layer's part of a step.

    Attributes:
        type: its name in the specification.
        forward, backward: floating-point operations of a step. Backward skips the layers below
            the first one with parameters, which count 0; in that layer it still counts δX, which
            training skips.
        bytes: float32 outputs of the whole batch, kept for backward, parameters read and
            gradients written.
    """

    type: str
    output: Shape
    parameters: dict[str, Shape]
    forward: int
    backward: int
    bytes: int

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(map(math.prod, self.parameters.values()))


@dataclass(frozen=True)
class NetworkDescription:
    """A run's shapes and sizes; fields that need data which were not read are None.

    Attributes:
        input_bytes: the float32 samples of a batch.
        refused: why a run of this specification would be refused; empty if it would not be.
    """

    name: str
    input: Shape
    input_bytes: int
    layers: tuple[LayerWork, ...]
    loss: str
    batch_size: int
    shards: int
    workers: int
    steps_per_epoch: int | None
    steps: int | None
    refused: tuple[Violation, ...]

    @property
    def parameters(self) -> int:
        return sum(layer.size for layer in self.layers)

    @property
    def forward(self) -> int:
        """Floating-point operations of a step, without the loss."""
        return sum(layer.forward for layer in self.layers)

    @property
    def backward(self) -> int:
        return sum(layer.backward for layer in self.layers)

    @property
    def bytes(self) -> int:
        return self.input_bytes + sum(layer.bytes for layer in self.layers)


def describe(spec: RunSpec, input_shape: Shape | None = None) -> NetworkDescription:
    """Describe shapes, parameters and work of every layer, and the run's steps.

    Args:
        input_shape: of a sample, instead of the data's; the data are then not read.

    Raises:
        InvalidSpecError: the data cannot be read, a layer does not fit the one before it, or the
            batch is the full data, which was not looked at.
    """
    data = describe_data(spec) if input_shape is None else None
    network = Network(tuple(spec.model.layers), data.sample_shape if data else input_shape or ())
    try:
        size = network.size
    except LayerShapeError as error:
        raise InvalidSpecError([Violation(f"model.layers[{error.index}]", str(error))]) from None
    batch_size, shards = _batch(spec, data)
    steps_per_epoch = math.ceil(data.train_rows / batch_size) if data else None
    refused = mistakes(spec, data) if data else size_mistakes(size)
    return NetworkDescription(
        spec.name,
        network.input_shape,
        FLOAT_BYTES * batch_size * math.prod(network.input_shape),
        tuple(_layers(spec, network, batch_size)),
        spec.model.loss,
        batch_size,
        shards,
        spec.workers.count,
        steps_per_epoch,
        _steps(spec, steps_per_epoch),
        tuple(refused),
    )


def _batch(spec: RunSpec, data: Description | None) -> tuple[int, int]:
    """Rows of a step, and the pieces that they are cut into."""
    if data is not None:
        sampling = spec.job().sampling(data)
        return min(sampling.batch_size, data.train_rows), sampling.shards
    batch_size = spec.train.batch_size
    if batch_size == "full":
        raise InvalidSpecError(
            [
                Violation(
                    "train.batch_size",
                    '"full" needs the data, which --input-shape leaves out; give a number',
                )
            ]
        )
    return batch_size, spec.train.shards or default_shards(batch_size)


def _steps(spec: RunSpec, steps_per_epoch: int | None) -> int | None:
    train = spec.train
    if train.epochs is not None and steps_per_epoch is None:
        return None
    length = train.steps or (train.epochs or 0) * (steps_per_epoch or 0)
    return min(length, train.stop_after or length)


def _layers(spec: RunSpec, network: Network, batch_size: int) -> list[LayerWork]:
    types = spec.layer_types
    first = network.slots[0].layer if network.slots else len(network.layers)
    found = []
    for index, layer in enumerate(network.layers):
        shapes = network.shapes[index]
        operations = layer.operations(network.input_shapes[index])
        size = sum(map(math.prod, shapes.params.values()))
        found.append(
            LayerWork(
                types[index],
                shapes.output,
                shapes.params,
                forward=batch_size * operations.forward,
                backward=batch_size * operations.backward if index >= first else 0,
                bytes=FLOAT_BYTES * (batch_size * math.prod(shapes.output) + 2 * size),
            )
        )
    return found
