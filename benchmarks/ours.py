"""sumgrad on one workload: a run of the service, exactly as a user submits it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.workloads import Dense, Workload
from trainer.client import Client
from trainer.v1 import run_pb2

WORKERS = 2
SHARDS = 2
"""One a worker, as DDP has one part of the batch a process."""


def supported(workload: Workload) -> bool:
    """Whether every layer of the workload exists here."""
    return all(isinstance(layer, Dense) for layer in workload.layers)


def specification(workload: Workload, data: Path) -> dict[str, Any]:
    """The workload as a run's specification."""
    *hidden, last = workload.layers
    layers = [{"type": "affine_relu", "units": layer.units} for layer in hidden]
    return {
        "name": workload.name,
        "data": {"type": "npz", "path": str(data)},
        "model": {
            "layers": [{"type": "flatten"}, *layers, {"type": "affine", "units": last.units}],
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


def samples_per_second(client: Client, workload: Workload, data: Path) -> float:
    """Train once; the rate over all steps, the first ones included."""
    run = client.wait(client.submit(specification(workload, data)).id)
    if run.state != run_pb2.RUN_STATE_SUCCEEDED:
        raise SystemExit(f"the run of {workload.name} did not succeed: {run.message}")
    return run.result.samples_per_second
