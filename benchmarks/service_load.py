"""How many calls the service answers, alone, in a flood, and beside a hundred who watch.

The service runs in a process of its own, with one run whose runner is played here; Ray has no part.

    python -m benchmarks.service_load
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from benchmarks.played_launcher import PlayedLauncher
from trainer.service.settings import Limits
from trainer.v1 import run_pb2, runner_pb2, runner_pb2_grpc, service_pb2, service_pb2_grpc

SECONDS = 5.0
CHANNELS = 4
CALLERS = 32
WATCHERS = 100
UPDATES_A_SECOND = 2
FLOOD = 5
TICKS = os.sysconf("SC_CLK_TCK")

SPECIFICATION = {
    "name": "load",
    "data": {"type": "digits"},
    "model": {"layers": [{"type": "affine", "units": 10}], "loss": "cross_entropy"},
    "train": {"steps": 10, "batch_size": 64, "update": {"rule": "sgd", "learning_rate": 0.1}},
    "workers": {"count": 1},
}


class Load(NamedTuple):
    """What came of calling for a while.

    Attributes:
        codes: answers by status.
        latencies: seconds of the answers that were OK, ascending.
        seconds: how long it was.
        cpu: seconds of processor time that the service took.
    """

    codes: Counter[str]
    latencies: list[float]
    seconds: float
    cpu: float

    def __str__(self) -> str:
        answered, refused = self.codes["OK"], self.codes["RESOURCE_EXHAUSTED"]
        p50, p99 = (self.latencies[int(len(self.latencies) * q)] * 1000 for q in (0.5, 0.99))
        return (
            f"{answered / self.seconds:,.0f} answered a second, "
            f"p50 {p50:.1f} ms, p99 {p99:.1f} ms; "
            f"{refused / self.seconds:,.0f} refused a second; "
            f"{self.cpu / self.codes.total() * 1e6:.0f} µs of the service's processor time a call"
        )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, _service(Path(folder)) as (process, launch):
        asyncio.run(_measure(process.pid, launch))


@contextmanager
def _service(state: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    command = [sys.executable, "-m", "benchmarks.service_load", str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


async def _measure(pid: int, launch: dict[str, Any]) -> None:
    async with AsyncExitStack() as stack:
        channels = [
            # Options that differ keep gRPC from putting them on one connection.
            await stack.enter_async_context(
                grpc.aio.insecure_channel(launch["service"], [("sumgrad.channel", i)])
            )
            for i in range(CHANNELS)
        ]
        stubs = [service_pb2_grpc.TrainerServiceStub(channel) for channel in channels]
        run_id = launch["run_id"]
        await _calls(pid, stubs, run_id, CALLERS, 1.0)
        peak = await _calls(pid, stubs, run_id, CALLERS)
        print(f"GetRun, {CALLERS} callers: {peak}", flush=True)
        full = await _calls(pid, stubs, run_id, Limits.calls)
        print(f"GetRun, {Limits.calls} callers: {full}", flush=True)
        flood = await _calls(pid, stubs, run_id, FLOOD * Limits.calls)
        print(f"GetRun, {FLOOD * Limits.calls} callers: {flood}", flush=True)
        alone = await _watched(pid, channels[0], stubs, launch, 0)
        beside = await _watched(pid, channels[0], stubs, launch, WATCHERS)
        print(
            f"{UPDATES_A_SECOND} updates a second: {alone:.1%} of a core without watchers, "
            f"{beside:.1%} with {WATCHERS}",
            flush=True,
        )


async def _calls(
    pid: int, stubs: list[Any], run_id: str, callers: int, seconds: float = SECONDS
) -> Load:
    codes: Counter[str] = Counter()
    latencies: list[float] = []
    request = service_pb2.GetRunRequest(id=run_id)
    start, cpu = time.perf_counter(), _cpu_seconds(pid)

    async def call(stub: Any) -> None:
        while (before := time.perf_counter()) < start + seconds:
            try:
                await stub.GetRun(request, timeout=30)
            except grpc.aio.AioRpcError as error:
                codes[error.code().name] += 1
            else:
                codes["OK"] += 1
                latencies.append(time.perf_counter() - before)

    await asyncio.gather(*(call(stubs[i % len(stubs)]) for i in range(callers)))
    took = time.perf_counter() - start
    return Load(codes, sorted(latencies), took, _cpu_seconds(pid) - cpu)


async def _watched(
    pid: int, channel: grpc.aio.Channel, stubs: list[Any], launch: dict[str, Any], watchers: int
) -> float:
    """The share of a core that the service takes while a run reports and so many watch it."""
    runner = runner_pb2_grpc.RunnerServiceStub(channel)
    who = {"id": launch["run_id"], "attempt": launch["attempt"], "token": launch["token"]}
    seen: Counter[int] = Counter()
    there = asyncio.Barrier(watchers + 1)

    async def watch(number: int) -> None:
        request = service_pb2.WatchRunRequest(id=launch["run_id"])
        async for response in stubs[number % len(stubs)].WatchRun(request):
            if response.HasField("snapshot"):
                await there.wait()
            seen[number] += response.HasField("event")

    tasks = [asyncio.create_task(watch(number)) for number in range(watchers)]
    await asyncio.wait_for(there.wait(), 30)
    start, cpu = time.perf_counter(), _cpu_seconds(pid)
    updates = int(SECONDS * UPDATES_A_SECOND)
    first = 1 if watchers == 0 else updates + 1
    for number in range(first, first + updates):
        report = runner_pb2.RunReport(number=number, progress=run_pb2.Progress(step=number))
        await runner.Report(runner_pb2.ReportRequest(**who, reports=[report]), timeout=30)
        await asyncio.sleep(1 / UPDATES_A_SECOND)
    share = (_cpu_seconds(pid) - cpu) / (time.perf_counter() - start)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if watchers and min(seen[number] for number in range(watchers)) < updates - 1:
        raise SystemExit("somebody who watched has missed updates")
    return share


def _cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def _serve(state: Path) -> None:
    """The service's process: one run is launched, and its runner's token is told."""
    import trainer.service.service as module
    from trainer.service.settings import Settings
    from trainer.spec.parse import parse
    from trainer.spec.wire import to_message

    module.Launcher = PlayedLauncher  # type: ignore[misc,assignment]
    async with module.Service(Settings(state, "127.0.0.1:0", None)) as service:
        await service.ready()
        await service._manager.submit(to_message(parse(SPECIFICATION)))
        launcher: Any = service._launcher
        await launcher.launched.wait()
        launch = launcher.last
        await service._manager.take(launch.run_id, launch.attempt, launch.token)
        print(json.dumps(vars(launch)), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        if len(sys.argv) > 1:
            asyncio.run(_serve(Path(sys.argv[1])))
        else:
            main()
