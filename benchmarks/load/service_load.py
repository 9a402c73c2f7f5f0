"""How many calls the service answers, alone and in a flood.

`python -m benchmarks.load.service_load [--repetitions N] [--seconds S]`; needs h2load (Debian:
nghttp2-client). The service runs in a process of its own, with one run whose runner is played here;
Ray has no part. Each number of callers in turn and again, so that a machine's moods meet all alike;
prints medians, and fails if a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from sumgrad.trainer.service.settings import Settings
from sumgrad.trainer.v1 import service_pb2

from benchmarks import processor
from benchmarks.load import h2load
from support.played_launcher import PlayedLauncher

CALLERS = 32
MAX_CALLS: int = Settings.model_fields["max_calls"].default
FLOODS = (5 * MAX_CALLS, 20 * MAX_CALLS)
SETTLING_SECONDS = 6.0
METHOD = "/sumgrad.trainer.v1.TrainerService/GetRun"

LEAST_SERVED = 1500.0
LONGEST_P99 = 0.050
LEAST_SHARE = 0.8
"""Of the peak, that is served in the first of the floods."""

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
        served, refused: answers a second, as the service counts them.
        other: the same, of other answers and of streams that ended without a status.
        p50, p99: seconds of the calls that were served. Those which were refused were held before,
            so they are taken to be the slowest.
        cpu: seconds of the service's processor time for each answer.
    """

    served: float
    refused: float
    other: float
    p50: float
    p99: float
    cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    options = parser.parse_args()
    h2load.require()
    loads: dict[int, list[Load]] = {callers: [] for callers in (CALLERS, *FLOODS)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with _service(folder / "state") as (process, served):
            for _ in range(options.repetitions):
                for callers, found in loads.items():
                    found.append(_load(process.pid, served, callers, options.seconds, folder))
                    print(f"{callers} callers: {found[-1]}", file=sys.stderr)
    print(table(loads))
    if missed := list(misses(loads)):
        raise SystemExit("missed: " + "; ".join(missed))


def table(loads: dict[int, list[Load]]) -> str:
    """Medians, as Markdown."""
    lines = [
        "| callers | served a second | of the peak | refused a second | other ends a second "
        "| p50 | p99 | service's CPU a call |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for callers, found in loads.items():
        served, refused, other, p50, p99, cpu = (
            median(column) for column in zip(*found, strict=True)
        )
        lines.append(
            f"| {callers:,} | {served:,.0f} | {_share(loads, callers):.0%} | {refused:,.0f} "
            f"| {other:,.0f} | {p50 * 1e3:.0f} ms | {p99 * 1e3:.0f} ms | {cpu * 1e6:.0f} µs |"
        )
    return "\n".join(lines)


def misses(loads: dict[int, list[Load]]) -> Iterator[str]:
    """Each target that was not met."""
    served = median(load.served for load in loads[CALLERS])
    if served < LEAST_SERVED:
        yield f"{served:,.0f} calls a second were served, not {LEAST_SERVED:,.0f}"
    p99 = median(load.p99 for load in loads[CALLERS])
    if p99 > LONGEST_P99:
        yield f"the p99 was {p99 * 1e3:.0f} ms, not {LONGEST_P99 * 1e3:.0f} ms"
    share = _share(loads, FLOODS[0])
    if share < LEAST_SHARE:
        yield f"{share:.1%} of the peak was served to {FLOODS[0]} callers, not {LEAST_SHARE:.0%}"
    for flood in FLOODS:
        if not all(load.refused for load in loads[flood]):
            yield f"of {flood} callers, none was refused"
        if other := max(load.other for load in loads[flood]):
            yield f"of {flood} callers, {other:.1f} a second got another answer"


def _share(loads: dict[int, list[Load]], callers: int) -> float:
    """Of the peak; both are measured in each repetition."""
    pairs = zip(loads[callers], loads[CALLERS], strict=True)
    return median(load.served / peak.served for load, peak in pairs)


def _load(pid: int, served: dict[str, Any], callers: int, seconds: int, folder: Path) -> Load:
    message = service_pb2.GetRunRequest(id=served["run_id"]).SerializeToString()
    whole = int(SETTLING_SECONDS) + seconds + 1
    with h2load.calling(served["service"], METHOD, message, callers, whole, folder):
        time.sleep(SETTLING_SECONDS)
        start, cpu, before = time.time(), processor.seconds(pid), _counts(served["metrics"])
        time.sleep(seconds)
        end, cpu, after = time.time(), processor.seconds(pid) - cpu, _counts(served["metrics"])
    codes = after - before
    took = end - start
    answers = [
        answer for answer in h2load.answers(folder) if start <= answer.start + answer.seconds <= end
    ]
    whole_answers = sorted(answer.seconds for answer in answers if answer.status == h2load.OK)
    others = codes.total() - codes["OK"] - codes["RESOURCE_EXHAUSTED"]
    of_served = whole_answers[: codes["OK"]]
    return Load(
        codes["OK"] / took,
        codes["RESOURCE_EXHAUSTED"] / took,
        (others + len(answers) - len(whole_answers)) / took,
        _quantile(of_served, 0.5),
        _quantile(of_served, 0.99),
        cpu / codes.total(),
    )


def _quantile(ascending: Sequence[float], share: float) -> float:
    return ascending[int(len(ascending) * share)]


def _counts(metrics: str) -> Counter[str]:
    """Answers so far, by status."""
    with urllib.request.urlopen(metrics) as response:
        text = response.read().decode()
    pattern = rf'^sumgrad_grpc_requests_total{{code="(\w+)",method="{METHOD}"}} (\S+)$'
    return Counter({code: int(float(n)) for code, n in re.findall(pattern, text, re.MULTILINE)})


@contextmanager
def _service(state: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    command = [sys.executable, "-m", "benchmarks.load.service_load", "--serve", str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


async def _serve(state: Path) -> None:
    """The service's process: one run is launched, and where it is served is told."""
    import sumgrad.trainer.service.service as module
    from sumgrad.trainer.spec.messages import to_message
    from sumgrad.trainer.spec.parse import parse

    settings = Settings(state=state, address="127.0.0.1:0", metrics_address="127.0.0.1:0")
    module.Launcher = PlayedLauncher  # type: ignore[misc,assignment]
    async with module.Service(settings) as service:
        await service.ready()
        await service.submission.submit(to_message(parse(SPECIFICATION)))
        launcher: Any = service.launcher
        await launcher.launched.wait()
        launch = launcher.last
        await service.runner_calls.take(launch.run_id, launch.attempt, launch.token)
        print(json.dumps({**vars(launch), "metrics": service.metrics_url}), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        if sys.argv[1:2] == ["--serve"]:
            asyncio.run(_serve(Path(sys.argv[2])))
        else:
            main()
