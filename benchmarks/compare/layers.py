"""Layer by layer against PyTorch.

`python -m benchmarks.compare.layers [--repetitions N] [--json FILE]`

Forward and backward of one layer, batch 64, float32, one thread on either side. Both sides take
turns in one process, each for the same time, after they have been found to agree. Prints a
Markdown table of medians and ratios.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from time import perf_counter

from benchmarks import environment

if __name__ == "__main__":
    environment.one_thread()

import numpy as np
import torch

from sumgrad.layers import Affine, Convolution, MaxPool
from sumgrad.layers.base.arrays import Params

from benchmarks.compare.passes import Case, Numbers, OurPass, Pass, TorchPass
from benchmarks.figures import ratio, spread

BATCH = 64
SECONDS = 0.1
"""Of a side in a repetition."""

CASES = (
    Case("affine, 1024→1024", Affine(1024), (1024,)),
    Case("affine, 1568→128", Affine(128), (1568,)),
    Case("convolution, 1→16, 5×5 at 28²", Convolution(16, 5, padding=2), (28, 28, 1)),
    Case("the same as a first layer (no δX)", Convolution(16, 5, padding=2), (28, 28, 1), False),
    Case("convolution, 16→32, 5×5 at 14²", Convolution(32, 5, padding=2), (14, 14, 16)),
    Case("convolution, 32→64, 3×3 at 32²", Convolution(64, 3, padding=1), (32, 32, 32)),
    Case("max pool, 2×2, 16 channels at 28²", MaxPool(2), (28, 28, 16)),
)

Figures = dict[str, dict[str, list[float]]]


def sides(case: Case) -> dict[str, Pass]:
    """Both sides of a case, on the same numbers."""
    numbers = Numbers.of(case, BATCH)
    return {"sumgrad": OurPass(case, numbers), "pytorch": TorchPass(case, numbers)}


def check(title: str, ours: Params, theirs: Params) -> None:
    """Raise AssertionError unless both sides computed the same, up to float32's rounding."""
    if set(ours) != set(theirs):
        raise AssertionError(f"{title}: {sorted(ours)} here, but {sorted(theirs)} in PyTorch")
    for name, expected in theirs.items():
        # Elements near 0 are sums that cancelled; their error follows the others' size.
        np.testing.assert_allclose(
            ours[name],
            expected,
            rtol=3e-4,
            atol=1e-5 * np.abs(expected).max(),
            err_msg=f"{name} of {title} differs from PyTorch's",
        )


def rate(side: Pass) -> float:
    """Samples per second over SECONDS."""
    side.forget()
    side.run()  # the other side's arrays leave the caches
    passes, seconds = 0, 0.0
    while seconds < SECONDS:
        side.forget()
        start = perf_counter()
        side.run()
        seconds += perf_counter() - start
        passes += 1
    return BATCH * passes / seconds


def measure(repetitions: int) -> Figures:
    """Samples per second of each side on each case, one figure a repetition.

    Raises:
        AssertionError: the sides do not agree on a case.
    """
    pairs = {case.title: sides(case) for case in CASES}
    for title, pair in pairs.items():
        for side in pair.values():
            side.run()
        check(title, pair["sumgrad"].results(), pair["pytorch"].results())
    figures: Figures = {title: {name: [] for name in pair} for title, pair in pairs.items()}
    for _ in range(repetitions):
        for title, pair in pairs.items():
            for name, side in pair.items():
                figures[title][name].append(rate(side))
    return figures


def table(figures: Figures) -> str:
    """Medians, their spread, and the ratios of medians, as Markdown."""
    lines = ["| layer | sumgrad, 1 thread | PyTorch, 1 thread | ÷ PyTorch |", "|---|---|---|---|"]
    for title, found in figures.items():
        ours, theirs = found["sumgrad"], found["pytorch"]
        lines.append(f"| {title} | {spread(ours)} | {spread(theirs)} | {ratio(ours, theirs)} |")
    return "\n".join(lines)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare.layers", description=__doc__
    )
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--json", type=Path, help="where every figure goes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures = measure(options.repetitions)
    print(f"Samples per second, forward and backward, batch {BATCH}: median (least to most).\n")
    print(table(figures))
    if options.json:
        options.json.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
