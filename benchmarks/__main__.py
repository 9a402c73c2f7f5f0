"""sumgrad against PyTorch: `python -m benchmarks [--repetitions N] [--json FILE]`.

The same network, batch, data, float32 and update rule on every side, one after the other and
again, so that a machine's moods meet all sides alike. Prints a Markdown table of medians and
ratios, and writes every figure to a JSON file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks import ours
from benchmarks.workloads import WORKLOADS, Workload, write_dataset
from trainer.client import Client
from trainer.service.embedded import EmbeddedService

SIDES = ("sumgrad", "ddp", "single")
BLAS_OVERRIDES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""They would hold NumPy to kernels of another processor; PyTorch has a BLAS of its own."""

RESULTS = Path(__file__).parent / "results" / "latest.json"

Figures = dict[str, dict[str, list[float]]]


def pytorch(workload: Workload, mode: str, data: Path) -> float:
    """Samples per second of PyTorch, in processes of its own."""
    command = [sys.executable, "-m", "benchmarks.pytorch"]
    options = ["--workload", workload.name, "--mode", mode, "--data", str(data)]
    done = subprocess.run([*command, *options], stdout=subprocess.PIPE, check=True, text=True)
    rate: float = json.loads(done.stdout)["samples_per_second"]
    return rate


def measure(client: Client, data: Path, names: list[str], repetitions: int) -> Figures:
    """Samples per second of each side on each workload, one figure a repetition."""
    figures: Figures = {name: {side: [] for side in SIDES} for name in names}
    for repetition in range(repetitions):
        for name, found in figures.items():
            print(f"repetition {repetition + 1}/{repetitions}: {name}", file=sys.stderr)
            workload = WORKLOADS[name]
            if ours.supported(workload):
                found["sumgrad"].append(ours.samples_per_second(client, workload, data))
            found["ddp"].append(pytorch(workload, "ddp", data))
            found["single"].append(pytorch(workload, "single", data))
    return figures


def table(figures: Figures) -> str:
    """Medians, their spread, and the ratios of medians, as Markdown."""
    lines = [
        "| work | sumgrad, 2 workers | DDP (gloo), 2 processes | PyTorch, 2 threads "
        "| ÷ DDP | ÷ 2 threads |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in figures.items():
        ratios = [ratio(found, side) for side in ("ddp", "single")]
        cells = [_rate(found[side]) for side in SIDES]
        texts = ["not yet" if r is None else f"{r:.2f}×" for r in ratios]
        lines.append(f"| {' | '.join([WORKLOADS[name].title, *cells, *texts])} |")
    return "\n".join(lines)


def ratio(found: dict[str, list[float]], side: str) -> float | None:
    """Our median over the side's, or None where we have none."""
    return median(found["sumgrad"]) / median(found[side]) if found["sumgrad"] else None


def _rate(rates: list[float]) -> str:
    if not rates:
        return "not yet"
    return f"{median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--workload", action="append", choices=WORKLOADS)
    parser.add_argument("--json", type=Path, default=RESULTS, help="default: %(default)s")
    options = parser.parse_args()
    for name in BLAS_OVERRIDES:
        if os.environ.pop(name, None) is not None:
            print(f"{name} is set here and left out: each side picks its kernels", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="sumgrad-bench-") as folder:
        data = Path(folder) / "images.npz"
        write_dataset(data)
        with EmbeddedService(Path(folder)) as service, Client(service.address) as client:
            names = options.workload or list(WORKLOADS)
            figures = measure(client, data, names, options.repetitions)
    print("Samples per second: median (least to most).\n")
    print(table(figures))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": platform.processor() or platform.machine(), "samples_per_second": figures}
    options.json.write_text(json.dumps(content, indent=2) + "\n")
    print(f"\nevery figure: {options.json}", file=sys.stderr)


if __name__ == "__main__":
    main()
