"""What a run loses when many watch it: `python -m benchmarks.load.watched_run [--windows N]`.

A real run of a real service and its Ray on two workers. In turn, nobody watches for some seconds,
and then the hundred streams of one client do. Steps a second are those of the run's own reports.
The processor time of the client that watches is taken from the same cores. Fails if more is lost
than may be.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any, NamedTuple

from sumgrad.trainer.client import AsyncClient, Client, RunHandle
from sumgrad.trainer.v1 import run_pb2

from benchmarks import processor
from benchmarks.lab import Lab, lab

WATCHERS = 100
WINDOW_SECONDS = 3.0
LEAST_UPDATES_A_SECOND = 2.0
MOST_LOST = 0.05
BATCH = 128


class Window(NamedTuple):
    """Some seconds of the run.

    Attributes:
        start, end: by the clock.
        updates: a second, of the watcher that had the fewest.
        service, client: shares of one core that the service and the watching client took.
    """

    start: float
    end: float
    updates: float
    service: float
    client: float


class Watched(NamedTuple):
    """A window and the steps a second in it."""

    steps: float
    updates: float
    service: float
    client: float


def specification() -> dict[str, Any]:
    """784-128-10 at batch 128, on rows as many as MNIST's; an epoch has 468 steps."""
    return {
        "name": "watched",
        "data": {"type": "noise", "shape": [28, 28, 1], "rows": 60_000, "classes": 10},
        "model": {
            "layers": [{"type": "affine_relu", "units": 128}, {"type": "affine", "units": 10}],
            "loss": "cross_entropy",
        },
        "train": {
            "steps": 10**7,  # it is cancelled
            "batch_size": BATCH,
            "shards": 2,
            "update": {"rule": "momentum", "learning_rate": 0.01},
        },
        "workers": {"count": 2},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=15, help="of each kind")
    options = parser.parse_args()
    found = measure(options.windows)
    print(table(found))
    if missed := list(misses(found)):
        raise SystemExit("missed: " + "; ".join(missed))


def table(found: dict[int, list[Watched]]) -> str:
    """Medians, as Markdown."""
    lines = [
        "| watchers | steps a second | updates a second, each | service | watching client |",
        "|---|---|---|---|---|",
    ]
    for watchers, windows in found.items():
        steps, updates, service, client = (median(column) for column in zip(*windows, strict=True))
        lines.append(
            f"| {watchers} | {steps:,.0f} | {updates:.1f} | {service:.1%} of a core "
            f"| {client:.1%} of a core |"
        )
    return "\n".join([*lines, "", f"{lost(found):.1%} of the steps are lost."])


def lost(found: dict[int, list[Watched]]) -> float:
    """Of the steps a second; each window is held against its neighbour."""
    pairs = zip(found[WATCHERS], found[0], strict=True)
    return 1 - median(watched.steps / alone.steps for watched, alone in pairs)


def misses(found: dict[int, list[Watched]]) -> Iterator[str]:
    """Each target that was not met."""
    if lost(found) > MOST_LOST:
        yield f"{lost(found):.1%} of the steps were lost, not {MOST_LOST:.0%}"
    updates = median(watched.updates for watched in found[WATCHERS])
    if updates < LEAST_UPDATES_A_SECOND:
        yield f"there were {updates:.1f} updates a second, not {LEAST_UPDATES_A_SECOND:.0f}"


def measure(count: int) -> dict[int, list[Watched]]:
    """So many windows of a run without watchers, and with all of them."""
    windows: dict[int, list[Window]] = {0: [], WATCHERS: []}
    with lab() as service, Client(service.address) as client:
        run = client.submit(specification())
        for response in run.watch():
            if response.event.progress.step:
                break
        with _watching(service.address, run.id) as process:
            for number in range(count):
                # Each is first as often as the other: a machine drifts.
                for watchers in (0, WATCHERS) if number % 2 else (WATCHERS, 0):
                    windows[watchers].append(_window(service, process, watchers))
        progress = [event for event in run.events() if event.HasField("progress")]
        _end(run)
    return {
        watchers: [Watched(_rate(progress, window), *window[2:]) for window in windows[watchers]]
        for watchers in windows
    }


def _window(service: Lab, process: subprocess.Popen[str], watchers: int) -> Window:
    _tell(process, watchers)
    start, taken = time.time(), processor.seconds(service.pid)
    time.sleep(WINDOW_SECONDS)
    end, taken = time.time(), processor.seconds(service.pid) - taken
    seen = _tell(process, 0)
    took = end - start
    return Window(start, end, seen["fewest"] / took, taken / took, seen["seconds"] / took)


def _rate(progress: Sequence[run_pb2.Event], window: Window) -> float:
    """Steps a second between the first and the last report in a window, by the server's clock."""
    inside = [
        event.progress
        for event in progress
        if window.start <= event.time.ToNanoseconds() * 1e-9 <= window.end
    ]
    first, last = inside[0], inside[-1]
    seconds = last.samples / last.samples_per_second - first.samples / first.samples_per_second
    return (last.samples - first.samples) / BATCH / seconds


def _end(run: RunHandle) -> None:
    """A run that failed meanwhile was not measured."""
    if run.refresh().state != run_pb2.RUN_STATE_RUNNING:
        raise SystemExit(f"the run ended too soon: {run.info.message}")
    run.cancel()
    run.wait()


@contextmanager
def _watching(address: str, run_id: str) -> Iterator[subprocess.Popen[str]]:
    """The client that watches, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.load.watched_run", "--watch", address, run_id]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _tell(process: subprocess.Popen[str], watchers: int) -> dict[str, float]:
    """How many are to watch from now on; what those saw that did until now."""
    assert process.stdout is not None
    print(watchers, file=process.stdin, flush=True)
    seen: dict[str, float] = json.loads(process.stdout.readline())
    return seen


async def _watch(address: str, run_id: str) -> None:
    """The watching client: it is told on its stdin how many watch, as ``_tell`` does."""
    tasks: list[asyncio.Task[None]] = []
    counts: list[int] = []
    start = time.process_time()

    async def watch(number: int, there: asyncio.Barrier) -> None:
        async for response in client.watch(run_id):
            if response.HasField("snapshot"):
                await there.wait()
            counts[number] += response.event.HasField("progress")

    async with AsyncClient(address) as client:
        while line := await asyncio.to_thread(sys.stdin.readline):
            seen = {"fewest": min(counts, default=0), "seconds": time.process_time() - start}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            counts = [0] * int(line)
            there = asyncio.Barrier(len(counts) + 1)
            tasks = [asyncio.create_task(watch(number, there)) for number in range(len(counts))]
            await there.wait()
            start = time.process_time()
            print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--watch"]:
        asyncio.run(_watch(*sys.argv[2:]))
    else:
        main()
