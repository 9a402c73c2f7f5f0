"""Checks that open files: does a specification fit its data, its checkpoint and the cluster?"""

from __future__ import annotations

from pathlib import Path

from sumgrad.layers import LayerShapeError, ShapeError
from sumgrad.trainer.snapshots.snapshot import SnapshotError
from sumgrad.trainer.spec.run_spec import RunSpec
from sumgrad.trainer.spec.violations import InvalidSpecError, Violation
from sumgrad.trainer.weights.starting_weights import starting_weights
from sumgrad.workers.datasets import DatasetError, Description

MAX_PARAMETERS = 2**31 - 1
"""A network with more does not fit the messages; 8 GiB of float32."""


def check_against_data(spec: RunSpec, workers_limit: int | None = None) -> Description:
    """Check everything that depends on the data, a checkpoint and the cluster.

    Reads only headers and labels of the data, but the whole checkpoint.

    Args:
        workers_limit: how many workers can run at once; None if unknown.

    Raises:
        InvalidSpecError: with every mistake that was found.
    """
    data = describe_data(spec)
    found = mistakes(spec, data, workers_limit)
    if found:
        raise InvalidSpecError(found)
    return data


def describe_data(spec: RunSpec) -> Description:
    """Describe the data by its headers and labels. Raises InvalidSpecError."""
    path = getattr(spec.source, "path", None)
    if path is not None and not Path(path).is_absolute():
        raise InvalidSpecError(
            [Violation("data.path", f"must be absolute here, got {path[:80]!r}")]
        )
    try:
        return spec.source.describe()
    except DatasetError as error:
        raise InvalidSpecError(
            [Violation("data" if path is None else "data.path", str(error))]
        ) from None


def mistakes(spec: RunSpec, data: Description, workers_limit: int | None = None) -> list[Violation]:
    """The mistakes that ``check_against_data`` raises, for data that are described."""
    shapes = shape_mistakes(spec, data)
    return [
        *(shapes or _checkpoint_mistakes(spec, data)),
        *_sizes(spec, data, workers_limit),
    ]


def shape_mistakes(spec: RunSpec, data: Description) -> list[Violation]:
    """The mistakes of the network and its loss on these data."""
    job = spec.job()
    network = job.network(data)
    try:
        found = size_mistakes(network.size)
        if not found:
            job.loss.check(network.output_shape, job.targets(data))
    except LayerShapeError as error:
        return [Violation(f"model.layers[{error.index}]", str(error))]
    except ShapeError as error:
        return [Violation("model.loss", str(error))]
    return found


def size_mistakes(parameters: int) -> list[Violation]:
    """The mistakes in a network's number of parameters."""
    if parameters > MAX_PARAMETERS:
        return [Violation("model.layers", f"{parameters:,} parameters; at most {MAX_PARAMETERS:,}")]
    if parameters == 0:
        return [Violation("model.layers", "no layer has parameters, so there is nothing to train")]
    return []


def _checkpoint_mistakes(spec: RunSpec, data: Description) -> list[Violation]:
    """The mistakes of the weights to start from, for a correct network."""
    location = spec.model.start_from
    if location is not None:
        try:
            starting_weights(location, spec.job().network(data), spec.roots.checkpoints)
        except SnapshotError as error:
            return [Violation("model.start_from", str(error))]
    return []


def _sizes(spec: RunSpec, data: Description, workers_limit: int | None) -> list[Violation]:
    found = []
    batch_size = spec.train.batch_size
    if batch_size != "full" and batch_size > data.train_rows:
        found.append(
            Violation(
                "train.batch_size",
                f"must be at most the {data.train_rows} training rows, got {batch_size}; "
                'use "full" for all of them',
            )
        )
    sampling = spec.job().sampling(data)
    if sampling.shards > sampling.batch_size:
        found.append(
            Violation(
                "train.shards",
                f"must be at most the batch's {sampling.batch_size} rows, got {sampling.shards}",
            )
        )
    steps = spec.train.steps or (spec.train.epochs or 0) * sampling.steps_per_epoch
    if spec.train.stop_after is not None and spec.train.stop_after > steps:
        found.append(
            Violation(
                "train.stop_after",
                f"must be at most the {steps} steps of the run, got {spec.train.stop_after}",
            )
        )
    count = spec.workers.count
    if count > sampling.shards:
        found.append(
            Violation(
                "workers.count",
                f"must be at most the {sampling.shards} shards of a batch, got {count}; "
                "raise train.shards or ask for fewer workers",
            )
        )
    workers = [f"worker-{i}" for i in range(count)]
    for index, fault in enumerate(spec.faults):
        if fault.target not in ("server", "runner", *workers):
            known = f"its workers are {workers[0]} to {workers[-1]}"
            found.append(
                Violation(f"faults[{index}].target", f"the run has no {fault.target}; {known}")
            )
    if workers_limit is not None and count > workers_limit:
        found.append(
            Violation(
                "workers.count",
                f"must be at most {workers_limit} here, got {count}; "
                "ask for fewer workers or use a larger cluster",
            )
        )
    return found
