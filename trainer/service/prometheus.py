"""What Prometheus sees. The only module that knows prometheus_client.

Series carry the id of a run only while the run is active, so the label sets stay small however
many runs there have been.
"""

from __future__ import annotations

import threading
from collections import Counter as Tally
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from sumgrad.layers.losses import METRICS
from sumgrad.trainer.record.enum_names import STATES
from sumgrad.trainer.server.rounds.step_times import BOUNDS
from sumgrad.trainer.service.settings import TlsFiles
from sumgrad.trainer.v1 import run_pb2, runner_pb2

_DISPATCH = {
    "stale_answers": (
        "sumgrad_stale_answers",
        "Answers dropped because their range was not, or no longer, their worker's.",
    ),
    "copies": ("sumgrad_range_copies", "Late ranges given to one more worker."),
    "dropped_copies": (
        "sumgrad_range_copies_dropped",
        "Copies of ranges whose answer was not needed any more.",
    ),
    "expelled": ("sumgrad_workers_expelled", "Workers expelled for not answering."),
}
"""Series and meaning of each field of DispatchCounts; they are summed over runs."""

_WAITS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
"""Bounds in seconds of the histogram of waiting times."""

_ACTIVE = (run_pb2.RUN_STATE_LAUNCHING, run_pb2.RUN_STATE_RUNNING)


class Metrics(Collector):
    """Figures of one service; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, int] = {}
        self._queued: dict[str, int] = {}
        self._runs: dict[str, run_pb2.Run] = {}
        self._ended: Tally[int] = Tally()
        self._step_times: dict[str, runner_pb2.StepTimes] = {}
        # By open run and field: the highest count of its dispatch so far.
        self._counted: dict[str, dict[str, int]] = {}
        self._registry = CollectorRegistry()
        disable_created_metrics()
        self._requests = Counter(
            "sumgrad_grpc_requests",
            "gRPC requests answered.",
            ["method", "code"],
            registry=self._registry,
        )
        self._waits = Histogram(
            "sumgrad_queue_wait_seconds",
            "Time that a run waited here before it was launched.",
            buckets=_WAITS,
            registry=self._registry,
        )
        self._dispatch = {
            field: Counter(series, meaning, registry=self._registry)
            for field, (series, meaning) in _DISPATCH.items()
        }
        self._registry.register(self)

    def serve(self, host: str, port: int, tls: TlsFiles | None = None) -> tuple[int, Any]:
        """Serve /metrics over HTTP, or HTTPS; the port, and the server to shut down."""
        encryption: dict[str, Any] = {}
        if tls is not None:
            encryption = {"certfile": str(tls.certificate), "keyfile": str(tls.key)}
            if tls.client_ca is not None:
                encryption |= {"client_cafile": str(tls.client_ca), "client_auth_required": True}
        server, _ = start_http_server(port, host, self._registry, **encryption)
        return server.server_port, server

    def request(self, method: str, code: str) -> None:
        """A gRPC request has been answered."""
        self._requests.labels(method, code).inc()

    def waited(self, seconds: float) -> None:
        """A run has been taken from the queue."""
        self._waits.observe(seconds)

    def run(self, run: run_pb2.Run) -> None:
        """A run is as it says."""
        with self._lock:
            self._count(run)
            self._queued.pop(run.id, None)
            if run.state == run_pb2.RUN_STATE_QUEUED:
                self._queued[run.id] = run.priority
            if run.HasField("ended"):
                if self._states.pop(run.id, None) is not None:
                    self._ended[run.state] += 1
                self._runs.pop(run.id, None)
                self._step_times.pop(run.id, None)
                return
            self._states[run.id] = run.state
            if run.state in _ACTIVE:
                self._runs[run.id] = run

    def _count(self, run: run_pb2.Run) -> None:
        """Add what a run's dispatch has counted since the run was last seen.

        What it had at first sight was counted by the service that looked after it before.
        """
        counted = self._counted.pop(run.id, {})
        for field, counter in self._dispatch.items():
            now = getattr(run.dispatch, field)
            before = counted.get(field, now)
            counted[field] = max(before, now)
            counter.inc(counted[field] - before)
        if not run.HasField("ended"):
            self._counted[run.id] = counted

    def step_times(self, run_id: str, times: runner_pb2.StepTimes) -> None:
        """Histograms of a running run's steps, since its start."""
        with self._lock:
            if run_id in self._runs:
                self._step_times[run_id] = times

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            runs = list(self._runs.items())
            times = list(self._step_times.items())
            states = Tally(self._states.values()) + self._ended
            queued = Tally(self._queued.values())
        yield _states(states)
        yield _queue(queued)
        yield from _progress(runs)
        yield _histogram(times)


def _states(states: Tally[int]) -> Metric:
    family = GaugeMetricFamily("sumgrad_runs", "Runs seen since the start.", labels=["state"])
    for name, state in STATES.items():
        family.add_metric([name], states[state])
    return family


def _queue(queued: Tally[int]) -> Metric:
    family = GaugeMetricFamily("sumgrad_queue_length", "Runs that wait.", labels=["priority"])
    for priority in sorted(queued.keys() | {0}):
        family.add_metric([str(priority)], queued[priority])
    return family


def _progress(runs: list[tuple[str, run_pb2.Run]]) -> Iterator[Metric]:
    steps = CounterMetricFamily("sumgrad_steps", "Steps applied by a run.", labels=["run"])
    skipped = CounterMetricFamily(
        "sumgrad_steps_skipped", "Steps that were not finite and not applied.", labels=["run"]
    )
    samples = CounterMetricFamily("sumgrad_samples", "Training rows read.", labels=["run"])
    loss = GaugeMetricFamily("sumgrad_loss", "E_in over the epoch so far.", labels=["run"])
    metrics = {
        name: GaugeMetricFamily(
            f"sumgrad_{name}",
            f"{metric.meaning} in the epoch so far.",
            labels=["run"],
            unit=metric.unit,
        )
        for name, metric in METRICS.items()
    }
    workers = GaugeMetricFamily("sumgrad_workers_alive", "Workers at work.", labels=["run"])
    for run_id, run in runs:
        progress = run.progress
        steps.add_metric([run_id], progress.step - progress.skipped_steps)
        skipped.add_metric([run_id], progress.skipped_steps)
        samples.add_metric([run_id], progress.samples)
        workers.add_metric([run_id], progress.workers)
        if progress.step:
            loss.add_metric([run_id], progress.e_in)
        if metric := progress.WhichOneof("metric"):
            metrics[metric].add_metric([run_id], getattr(progress, metric))
    return iter((steps, skipped, samples, loss, *metrics.values(), workers))


def _histogram(times: list[tuple[str, runner_pb2.StepTimes]]) -> Metric:
    family = HistogramMetricFamily(
        "sumgrad_step_seconds", "Time of a step by phase.", labels=["run", "phase"]
    )
    bounds = [*map(str, BOUNDS), "+Inf"]
    for run_id, step_times in times:
        for phase in step_times.phases:
            buckets = list(zip(bounds, accumulate(phase.counts), strict=True))
            family.add_metric([run_id, phase.name], buckets, phase.sum_seconds)
    return family
