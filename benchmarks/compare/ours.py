"""sumgrad on one workload: a run of the service, exactly as a user submits it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from sumgrad.trainer.client import Client
from sumgrad.trainer.v1 import run_pb2

from benchmarks.compare.workloads import Conv, Dense, Layer, MaxPool, Workload

WORKERS = 2
SHARDS = 2
"""One a worker, as DDP has one part of the batch a process."""


def specification(workload: Workload, data: Path) -> dict[str, Any]:
    """The workload as a run's specification."""
    *hidden, last = workload.layers
    return {
        "name": workload.name,
        "data": {"type": "npz", "path": str(data)},
        "model": {
            "layers": [*(_layer(layer, "_relu") for layer in hidden), _layer(last, "")],
            "loss": "cross_entropy",
        },
        "train": {
            "steps": workload.warmup + workload.steps,
            "batch_size": workload.batch,
            "shards": SHARDS,
            "update": {
                "rule": "momentum",
                "learning_rate": workload.learning_rate,
                "momentum": workload.momentum,
            },
        },
        "workers": {"count": WORKERS},
    }


def _layer(layer: Layer, relu: Literal["_relu", ""]) -> dict[str, Any]:
    match layer:
        case Conv(channels, kernel):
            same = {"channels": channels, "kernel": kernel, "padding": kernel // 2}
            return {"type": f"convolution{relu}", **same}
        case MaxPool(size):
            return {"type": "max_pool", "size": size}
        case Dense(units):
            return {"type": f"affine{relu}", "units": units}


def samples_per_second(client: Client, workload: Workload, data: Path) -> float:
    """Train once; the rate over the steps after the warm-up, as on the other sides.

    What a run reports are the rows and the seconds of training so far, so the rate is what came
    between its first report after the warm-up and its last one.
    """
    submitted = client.submit(specification(workload, data))
    reported = [
        (progress.samples, progress.samples / progress.samples_per_second)
        for response in submitted.watch()
        if (progress := response.event.progress).step >= workload.warmup
    ]
    run = submitted.refresh()
    if run.state != run_pb2.RUN_STATE_SUCCEEDED:
        raise SystemExit(f"the run of {workload.name} did not succeed: {run.message}")
    (rows, seconds), (last_rows, last_seconds) = reported[0], reported[-1]
    return (last_rows - rows) / (last_seconds - seconds)
