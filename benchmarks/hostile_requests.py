"""Hostile requests to a real service: `python -m benchmarks.hostile_requests [--count N]`.

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
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from statistics import median
from unittest import mock

import grpc
from grpc_status import rpc_status

from sumgrad.trainer.service.embedded import EmbeddedService
from sumgrad.trainer.service.malloc import give_back_memory
from sumgrad.trainer.service.queue.scheduling import UserLimits
from sumgrad.trainer.service.settings import Limits

from benchmarks.hostile_messages import METHODS, STREAMED, UPLOADED, hostile, many_layers, nested
from benchmarks.played_launcher import PlayedLauncher

AT_ONCE = 8
CALL_SECONDS = 20.0
LARGE_EVERY = 500
PAGE_BYTES = resource.getpagesize()

QUARTERS, LOOKS = 4, 25
"""Memory is looked at so often in each quarter of the requests; the median tells of the quarter."""

WAITING = 50
"""Runs that may wait, few enough that the queue is full in the first quarter."""

GROWTH_BYTES = 2**20
"""From the third quarter to the last; more is a leak."""

ANSWERS = frozenset(
    {
        grpc.StatusCode.OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
"""What a caller's mistake may be answered with, unless the message is too large for gRPC itself."""

Request = tuple[str, bytes]
"""A method and its message."""


def requests(random: Random, jobs: PlayedLauncher) -> Iterator[Request]:
    """Without end; half of those about a run are about one that is there, from its own runner."""
    methods = list(METHODS)
    for number in itertools.count(1):
        method = random.choice(methods)
        if number % LARGE_EVERY == 0:
            yield method, large(random)
            continue
        valid = type(METHODS[method])()
        valid.CopyFrom(METHODS[method])
        if random.random() < 0.5:
            own = {"id": jobs.last.run_id, "attempt": jobs.last.attempt, "token": jobs.last.token}
            caller = valid.file if method in UPLOADED else valid
            for name in own.keys() & caller.DESCRIPTOR.fields_by_name.keys():
                setattr(caller, name, own[name])
        yield method, hostile(random, valid)


def large(random: Random) -> bytes:
    """Of up to the largest message that gRPC takes, and one byte more."""
    return random.choice(
        (
            lambda: many_layers(500_000),
            lambda: nested(2_000),
            lambda: b"\x0a" * Limits.message_bytes,
            lambda: random.randbytes(Limits.message_bytes),
            lambda: bytes(Limits.message_bytes + 1),
        )
    )()


def answer(channel: grpc.Channel, request: Request) -> grpc.StatusCode:
    """The code of the answer; of a stream, of its first message.

    Raises:
        AssertionError: a caller's mistake should not be answered so, or not without a reason.
    """
    method, content = request
    try:
        call(channel, method, content)
    except grpc.RpcError as error:
        if not _callers_mistake(len(content), error):
            raise AssertionError(_told(request, error)) from error
        return error.code()
    return grpc.StatusCode.OK


def call(channel: grpc.Channel, method: str, content: bytes) -> None:
    """Send a request and wait for the answer, or for its first message. Raises grpc.RpcError."""
    if method in STREAMED:
        stream = channel.unary_stream(method)(content, timeout=CALL_SECONDS)
        next(stream, None)
        stream.cancel()
    elif method in UPLOADED:
        channel.stream_unary(method)(iter([content]), timeout=CALL_SECONDS)
    else:
        channel.unary_unary(method)(content, timeout=CALL_SECONDS)


def _callers_mistake(size: int, error: grpc.RpcError) -> bool:
    """Whether the answer says so, and why."""
    if size > Limits.message_bytes:
        return error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    return error.code() in ANSWERS and rpc_status.from_call(error) is not None


def _told(request: Request, error: grpc.RpcError) -> str:
    method, content = request
    shown = content.hex() if len(content) < 2000 else f"{len(content)} bytes"
    return f"{method} {shown}: {error.code()}: {error.details()}"


def bombard(channel: grpc.Channel, source: Iterable[Request]) -> Counter[str]:
    """Send them, AT_ONCE at a time; the answers by code."""
    lock, rest, found = threading.Lock(), iter(source), Counter[str]()

    def send() -> None:
        while True:
            with lock:
                request = next(rest, None)
            if request is None:
                return
            code = answer(channel, request)
            with lock:
                found[code.name] += 1

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for future in [pool.submit(send) for _ in range(AT_ONCE)]:
            future.result()
    return found


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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile_requests")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    jobs, errors = PlayedLauncher(), _Errors()
    logging.getLogger().addHandler(errors)
    give_back_memory()  # as `sumgrad serve` does
    with (
        mock.patch("sumgrad.trainer.service.service.Launcher", return_value=jobs),
        tempfile.TemporaryDirectory(prefix="sumgrad-hostile-") as folder,
        EmbeddedService(Path(folder), UserLimits(waiting=WAITING)) as service,
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
