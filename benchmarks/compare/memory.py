"""Memory beside what must be there: `python -m benchmarks.compare.memory [--json FILE]`.

A convolution's working set, and what a worker's step of LeNet allocates once it is in its stride.
Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks import environment

if __name__ == "__main__":
    environment.one_thread()

import numpy as np

from sumgrad.layers import Convolution, Network
from sumgrad.layers.base.context import Context, Workspace
from sumgrad.trainer.spec.parse import parse

from benchmarks.compare import ours
from benchmarks.compare.workloads import CLASSES, IMAGE_SHAPE, WORKLOADS

CONVOLUTION = Convolution(32, 5, padding=2)
INPUT_SHAPE = (14, 14, 16)
BATCHES = (64, 512)
FLOAT_BYTES = 4

LENET = WORKLOADS["lenet-128"]
ROWS = LENET.batch // ours.SHARDS
WARMUP = 3
STEPS = 50


class WorkingSet(NamedTuple):
    """Bytes.

    Attributes:
        ours: of the workspace after forward and backward, beside y and δX.
        im2col: of every window of the batch as a row of one matrix.
    """

    ours: int
    im2col: int


def working_set(batch: int) -> WorkingSet:
    """Of CONVOLUTION on a batch of this many rows."""
    shapes = CONVOLUTION.shapes(INPUT_SHAPE)
    rng = np.random.default_rng(0)
    params = {name: np.zeros(shape, np.float32) for name, shape in shapes.params.items()}
    CONVOLUTION.init(rng, params)
    grads = {name: np.empty_like(value) for name, value in params.items()}
    x = rng.random((batch, *INPUT_SHAPE), np.float32)
    workspace = Workspace()
    y, backward = CONVOLUTION.forward(params, x, Context(workspace=workspace))
    backward(np.ones_like(y), grads)
    held = workspace.nbytes_by_name
    positions = batch * math.prod(shapes.output[:2])
    window = math.prod(shapes.params["K"][:3])
    return WorkingSet(workspace.nbytes - held["y"] - held["dx"], positions * window * FLOAT_BYTES)


def lenet_step() -> Callable[[], None]:
    """Forward, loss and backward of random images, as a worker computes its shard."""
    job = parse(ours.specification(LENET, Path("images.npz"))).job()
    network, workspace = Network(job.layers, IMAGE_SHAPE), Workspace()
    params = network.views(network.init(seed=0))
    grads = network.views(np.empty(network.size, np.float32))
    rng = np.random.default_rng(0)
    x = rng.random((ROWS, *IMAGE_SHAPE), np.float32)
    y = rng.integers(0, CLASSES, ROWS)

    def step() -> None:
        scores, backward = network.forward(params, x, (0, 0, 0), workspace)
        _, dscores = job.loss.forward(scores, y)
        backward(dscores, grads)

    return step


def new_bytes(step: Callable[[], None]) -> int:
    """The most that NumPy and Python allocate in a step beside what they already hold."""
    for _ in range(WARMUP):
        step()
    tracemalloc.start()
    try:
        step()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def page_faults(step: Callable[[], None]) -> float:
    """Minor ones a step, the mean over STEPS."""
    for _ in range(WARMUP):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(STEPS):
        step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / STEPS


def tables(sets: dict[int, WorkingSet], allocated: int, faults: float) -> str:
    """Both parts, as Markdown."""
    lines = [
        "| convolution, 16→32, 5×5 at 14² | working set, MB | im2col of the batch, MB |",
        "|---|---|---|",
        *(
            f"| batch {batch} | {found.ours / 1e6:.1f} | {found.im2col / 1e6:.1f} |"
            for batch, found in sets.items()
        ),
        "",
        "| step | new memory at most, kB | page faults |",
        "|---|---|---|",
        f"| LeNet, {ROWS} rows | {allocated / 1e3:.0f} | {faults:.2f} |",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare.memory", description=__doc__
    )
    parser.add_argument("--json", type=Path, help="where every figure goes")
    options = parser.parse_args()
    sets = {batch: working_set(batch) for batch in BATCHES}
    step = lenet_step()
    faults, allocated = page_faults(step), new_bytes(step)
    print("Memory of one worker.\n")
    print(tables(sets, allocated, faults))
    if options.json:
        content = {
            "working_set_bytes": {batch: found._asdict() for batch, found in sets.items()},
            "new_bytes_of_a_step": allocated,
            "page_faults_of_a_step": faults,
        }
        options.json.write_text(json.dumps(content))


if __name__ == "__main__":
    main()
