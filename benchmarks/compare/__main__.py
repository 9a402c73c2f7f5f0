"""sumgrad against PyTorch: `python -m benchmarks.compare [--repetitions N] [--json FILE]`.

The same network, batch, data, float32 and update rule on every side, one after the other and
again, so that a machine's moods meet all sides alike; then layer by layer
(`benchmarks.compare.layers`), and memory (`benchmarks.compare.memory`). Prints Markdown tables of
medians and ratios, and writes every figure to a JSON file.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sumgrad.trainer.client import Client
from sumgrad.trainer.service.embedded import EmbeddedService

from benchmarks import environment
from benchmarks.compare import ours
from benchmarks.compare.workloads import WORKLOADS, Workload, write_dataset
from benchmarks.figures import ratio, spread

SIDES = ("sumgrad", "ddp", "single")
PARTS = ("layers", "memory")
RESULTS = Path(__file__).parents[1] / "results" / "latest.json"

Figures = dict[str, dict[str, list[float]]]


def pytorch(workload: Workload, mode: str, data: Path) -> float:
    """Samples per second of PyTorch, in processes of its own."""
    command = [sys.executable, "-m", "benchmarks.compare.pytorch"]
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
        rates = [spread(found[side]) for side in SIDES]
        ratios = [ratio(found["sumgrad"], found[side]) for side in ("ddp", "single")]
        lines.append(f"| {' | '.join([WORKLOADS[name].title, *rates, *ratios])} |")
    return "\n".join(lines)


def in_own_process(part: str, folder: Path) -> Any:
    """Let a part of the benchmark print its tables; every figure of it."""
    figures = folder / f"{part}.json"
    print(flush=True)
    command = [sys.executable, "-m", f"benchmarks.compare.{part}", "--json", str(figures)]
    subprocess.run(command, check=True)
    return json.loads(figures.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--workload", action="append", choices=WORKLOADS)
    parser.add_argument("--json", type=Path, default=RESULTS, help="default: %(default)s")
    options = parser.parse_args()
    environment.remove_overrides()
    with tempfile.TemporaryDirectory(prefix="sumgrad-bench-") as name:
        folder = Path(name)
        data = folder / "images.npz"
        write_dataset(data)
        with EmbeddedService(folder) as service, Client(service.address) as client:
            names = options.workload or list(WORKLOADS)
            figures = measure(client, data, names, options.repetitions)
        print("Samples per second of training: median (least to most).\n")
        print(table(figures))
        parts = {part: in_own_process(part, folder) for part in PARTS}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    machine = platform.processor() or platform.machine()
    content = {"machine": machine, "samples_per_second": figures, **parts}
    options.json.write_text(json.dumps(content, indent=2) + "\n")
    print(f"\nevery figure: {options.json}", file=sys.stderr)


if __name__ == "__main__":
    main()
