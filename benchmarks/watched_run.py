"""What a run loses when many watch it: `python -m benchmarks.watched_run [--repetitions N]`.

A real run of a real service and its Ray on two workers, with nobody who watches and with a hundred
streams of one client, in turn. Steps a second are those of the run's own reports. The processor
time of the client that watches is taken from the same cores. Fails if more is lost than may be.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any, NamedTuple

from benchmarks import processor
from benchmarks.lab import Lab, lab
from trainer.client import AsyncClient, Client
from trainer.service import history
from trainer.v1 import run_pb2

WATCHERS = 100
LEAST_UPDATES_A_SECOND = 2.0
MOST_LOST = 0.05
BATCH = 128


class Watched(NamedTuple):
    """One run.

    Attributes:
        steps: a second.
        updates: progress a second, as stored.
        service, client: shares of one core that the service and the watching client took.
    """

    steps: float
    updates: float
    service: float
    client: float


class Seen(NamedTuple):
    """By those who watched.

    Attributes:
        progress: that came, of the one with the fewest and the one with the most.
        seconds: of the watching client's processor time.
    """

    progress: tuple[int, int]
    seconds: float


def specification(steps: int) -> dict[str, Any]:
    """784-128-10 at batch 128, on rows as many as MNIST's; an epoch has 468 steps."""
    return {
        "name": "watched",
        "data": {"type": "noise", "shape": [28, 28, 1], "rows": 60_000, "classes": 10},
        "model": {
            "layers": [{"type": "affine_relu", "units": 128}, {"type": "affine", "units": 10}],
            "loss": "cross_entropy",
        },
        "train": {
            "steps": steps,
            "batch_size": BATCH,
            "shards": 2,
            "update": {"rule": "momentum", "learning_rate": 0.01},
        },
        "workers": {"count": 2},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=6)
    parser.add_argument("--steps", type=int, default=10_000)
    options = parser.parse_args()
    found: dict[int, list[Watched]] = {0: [], WATCHERS: []}
    with lab() as service:
        run(service, options.steps // 4, 0)
        for repetition in range(options.repetitions):
            # Each is first as often as the other: a machine drifts.
            for watchers in (0, WATCHERS) if repetition % 2 else (WATCHERS, 0):
                found[watchers].append(run(service, options.steps, watchers))
                print(f"{watchers} watchers: {found[watchers][-1]}", file=sys.stderr)
    print(table(found))
    if missed := list(misses(found)):
        raise SystemExit("missed: " + "; ".join(missed))


def table(found: dict[int, list[Watched]]) -> str:
    """Medians, as Markdown."""
    lines = [
        "| watchers | steps a second | updates a second, each | service | watching client |",
        "|---|---|---|---|---|",
    ]
    for watchers, runs in found.items():
        steps, updates, service, client = (median(column) for column in zip(*runs, strict=True))
        lines.append(
            f"| {watchers} | {steps:,.0f} | {updates:.1f} | {service:.1%} of a core "
            f"| {client:.1%} of a core |"
        )
    return "\n".join([*lines, "", f"{lost(found):.1%} of the steps are lost."])


def lost(found: dict[int, list[Watched]]) -> float:
    """Of the steps a second; both are measured in each repetition."""
    pairs = zip(found[WATCHERS], found[0], strict=True)
    return 1 - median(watched.steps / alone.steps for watched, alone in pairs)


def misses(found: dict[int, list[Watched]]) -> Iterator[str]:
    """Each target that was not met."""
    if lost(found) > MOST_LOST:
        yield f"{lost(found):.1%} of the steps were lost, not {MOST_LOST:.0%}"
    updates = min(watched.updates for watched in found[WATCHERS])
    if updates < LEAST_UPDATES_A_SECOND:
        yield f"there were {updates:.1f} updates a second, not {LEAST_UPDATES_A_SECOND:.0f}"


def run(service: Lab, steps: int, watchers: int) -> Watched:
    """Train once, and hold what each watcher saw against what was stored."""
    with Client(service.address) as client, _watching(service.address, watchers) as process:
        submitted = client.submit(specification(steps))
        print(submitted.id, file=process.stdin, flush=True)
        while submitted.info.state != run_pb2.RUN_STATE_RUNNING:
            time.sleep(0.1)
            submitted.refresh()
        start, taken = time.monotonic(), processor.seconds(service.pid)
        while submitted.refresh().state not in history.ENDED:
            time.sleep(0.5)
        took, taken = time.monotonic() - start, processor.seconds(service.pid) - taken
        if submitted.info.state != run_pb2.RUN_STATE_SUCCEEDED:
            raise SystemExit(f"the run did not succeed: {submitted.info.message}")
        assert process.stdout is not None
        seen = Seen(**json.loads(process.stdout.readline()))
        progress = [event.progress for event in submitted.events() if event.HasField("progress")]
    if watchers and tuple(seen.progress) != (len(progress), len(progress)):
        raise SystemExit(f"of {len(progress)} updates, watchers saw {seen.progress}")
    # The rate of a report is of all steps so far; the first seconds are not of interest.
    first, last = (progress[i] for i in (len(progress) // 5, -1))
    seconds = last.samples / last.samples_per_second - first.samples / first.samples_per_second
    updates = (len(progress) - len(progress) // 5 - 1) / seconds
    return Watched((last.step - first.step) / seconds, updates, taken / took, seen.seconds / took)


@contextmanager
def _watching(address: str, watchers: int) -> Iterator[subprocess.Popen[str]]:
    """The client that watches: it is told the run on its stdin, and tells what it has seen."""
    command = [sys.executable, "-m", "benchmarks.watched_run", "--watch", address, str(watchers)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


async def _watch(address: str, watchers: int) -> None:
    async with AsyncClient(address) as client:
        print("ready", flush=True)
        run_id = sys.stdin.readline().strip()
        start = time.process_time()
        counts = await asyncio.gather(*(_progress(client, run_id) for _ in range(watchers)))
        seconds = time.process_time() - start
    seen = Seen((min(counts, default=0), max(counts, default=0)), seconds)
    print(json.dumps(seen._asdict()), flush=True)


async def _progress(client: AsyncClient, run_id: str) -> int:
    return sum([response.event.HasField("progress") async for response in client.watch(run_id)])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--watch"]:
        asyncio.run(_watch(sys.argv[2], int(sys.argv[3])))
    else:
        main()
