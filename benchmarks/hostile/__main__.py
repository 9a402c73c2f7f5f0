"""Hostile requests to a real service: `python -m benchmarks.hostile [--count N]`.

Every method gets malformed, oversized and deeply nested messages, over gRPC, many at once; Ray is
not started. Prints the answers by code, the memory of the process (service and callers together)
and the time. Fails if an answer is none that a caller's mistake should get, or if memory still
grows in the last quarter of the requests.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import resource
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from random import Random
from statistics import median
from unittest import mock

import grpc

from sumgrad.trainer.service.embedded import EmbeddedService
from sumgrad.trainer.service.malloc import give_back_memory

from support.hostile_requests import bombard, requests
from support.played_launcher import PlayedLauncher

PAGE_BYTES = resource.getpagesize()

QUARTERS, LOOKS = 4, 25
"""Memory is looked at so often in each quarter of the requests; the median tells of the quarter."""

WAITING = 50
"""Runs that may wait, few enough that the queue is full in the first quarter."""

GROWTH_BYTES = 2**20
"""From the third quarter to the last; more is a leak."""


def resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


class _Errors(logging.Handler):
    """Counts what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1
        print(f"logged: {self.format(record)}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    jobs, errors = PlayedLauncher(), _Errors()
    logging.getLogger().addHandler(errors)
    give_back_memory()  # as `sumgrad serve` does
    with (
        mock.patch("sumgrad.trainer.service.service.Launcher", return_value=jobs),
        tempfile.TemporaryDirectory(prefix="sumgrad-hostile-") as folder,
        EmbeddedService(Path(folder), max_waiting_per_user=WAITING) as service,
        grpc.insecure_channel(service.address) as channel,
    ):
        source = requests(Random(options.seed), jobs)
        codes, memory, start = Counter[str](), list[float](), time.monotonic()
        for _ in range(QUARTERS):
            looks = []
            for _ in range(LOOKS):
                count = options.count // (QUARTERS * LOOKS)
                codes += bombard(channel, itertools.islice(source, count))
                looks.append(resident_bytes())
            memory.append(median(looks))
            print(f"{codes.total()} sent, {_mib(memory[-1])} MiB", file=sys.stderr, flush=True)
        seconds = time.monotonic() - start
        with urllib.request.urlopen(f"http://{service.metrics_address}/metrics") as scrape:
            assert scrape.status == 200
    print(f"{codes.total()} requests in {seconds:.0f} s ({codes.total() / seconds:.0f} a second)\n")
    print("| answer | requests |\n|---|---|")
    for code, number in codes.most_common():
        print(f"| {code} | {number} |")
    growth = memory[-1] - memory[-2]
    print(f"\nMemory in each quarter: {', '.join(map(_mib, memory))} MiB.")
    print(f"From the third to the last: {_mib(growth)} MiB. Errors logged: {errors.count}.")
    sys.exit(1 if errors.count or growth > GROWTH_BYTES else 0)


def _mib(size: float) -> str:
    return f"{size / 2**20:.1f}"


if __name__ == "__main__":
    main()
