"""What Prometheus sees."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client.core import Sample
from prometheus_client.parser import text_string_to_metric_families

from sumgrad.trainer.server.rounds.step_times import BOUNDS, PHASES, StepTimes
from sumgrad.trainer.service.prometheus import Metrics
from sumgrad.trainer.v1 import run_pb2

from support.repository import ROOT

RUN_SERIES = {
    "sumgrad_steps_total",
    "sumgrad_steps_skipped_total",
    "sumgrad_samples_total",
    "sumgrad_loss",
    "sumgrad_accuracy_ratio",
    "sumgrad_workers_alive",
    "sumgrad_step_seconds_bucket",
    "sumgrad_step_seconds_count",
    "sumgrad_step_seconds_sum",
}


class Scraped:
    """Metrics, and what a scrape of them over HTTP says."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        port, self._server = self.metrics.serve("127.0.0.1", 0)
        self._url = f"http://127.0.0.1:{port}/metrics"

    def text(self) -> str:
        with urllib.request.urlopen(self._url, timeout=30) as response:
            content: bytes = response.read()
            return content.decode()

    def all(self) -> list[Sample]:
        families = text_string_to_metric_families(self.text())
        return [sample for family in families for sample in family.samples]

    def values(self, name: str) -> dict[frozenset[str], float]:
        """A metric's values by their label values."""
        return {frozenset(s.labels.values()): s.value for s in self.all() if s.name == name}

    def value(self, name: str, *labels: str) -> float | None:
        """The value of the series with these label values, if there is one."""
        return self.values(name).get(frozenset(labels))

    def names(self, run_id: str) -> set[str]:
        """The metrics that have a series of the run."""
        return {sample.name for sample in self.all() if sample.labels.get("run") == run_id}

    def runs(self) -> set[str]:
        """Every run that any series names."""
        return {sample.labels["run"] for sample in self.all() if "run" in sample.labels}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def opened() -> Iterator[list[Scraped]]:
    """Closed all at once after the last test, because a server takes half a second to stop."""
    opened: list[Scraped] = []
    yield opened
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(Scraped.close, opened))


@pytest.fixture
def scraped(opened: list[Scraped]) -> Scraped:
    opened.append(Scraped())
    return opened[-1]


def running(run_id: str = "r-1", accuracy: float | None = 0.75) -> run_pb2.Run:
    progress = run_pb2.Progress(step=40, samples=2560, e_in=0.5, accuracy=accuracy, workers=2)
    return run_pb2.Run(id=run_id, state=run_pb2.RUN_STATE_RUNNING, progress=progress)


def ended(
    run_id: str = "r-1", state: run_pb2.RunState = run_pb2.RUN_STATE_SUCCEEDED
) -> run_pb2.Run:
    return run_pb2.Run(id=run_id, state=state, ended=Timestamp(seconds=1))


def observed(metrics: Metrics, run_id: str = "r-1") -> None:
    times = StepTimes()
    times.observe(compute=0.002, reduce=0.0001, update=0.3, channel=99.0)
    times.observe(compute=0.004, reduce=0.0001, update=0.3, channel=99.0)
    metrics.step_times(run_id, times.message())


def test_a_service_that_has_done_nothing_counts_no_runs_in_any_state(scraped: Scraped) -> None:
    states = ["queued", "launching", "running", "succeeded", "failed", "cancelled", "paused"]
    assert scraped.values("sumgrad_runs") == {frozenset([state]): 0 for state in states}


def test_a_running_run_shows_its_progress(scraped: Scraped) -> None:
    scraped.metrics.run(running())
    assert scraped.value("sumgrad_steps_total", "r-1") == 40
    assert scraped.value("sumgrad_samples_total", "r-1") == 2560
    assert scraped.value("sumgrad_loss", "r-1") == 0.5
    assert scraped.value("sumgrad_accuracy_ratio", "r-1") == 0.75
    assert scraped.value("sumgrad_workers_alive", "r-1") == 2
    assert scraped.value("sumgrad_runs", "running") == 1


@pytest.mark.parametrize(
    ("metric", "series"),
    [
        ("accuracy", "sumgrad_accuracy_ratio"),
        ("r2", "sumgrad_r2_ratio"),
        ("rmse", "sumgrad_rmse"),
        (None, None),
    ],
)
def test_a_run_has_the_series_of_its_metric_and_of_no_other(
    scraped: Scraped, metric: str | None, series: str | None
) -> None:
    run = running(accuracy=None)
    if metric is not None:
        setattr(run.progress, metric, 0.25)
    scraped.metrics.run(run)
    every = ("sumgrad_accuracy_ratio", "sumgrad_r2_ratio", "sumgrad_rmse")
    found = {name: scraped.value(name, "r-1") for name in every}
    assert found == {name: 0.25 if name == series else None for name in every}


def test_a_run_that_has_not_made_a_step_has_no_loss(scraped: Scraped) -> None:
    scraped.metrics.run(run_pb2.Run(id="r-1", state=run_pb2.RUN_STATE_LAUNCHING))
    assert scraped.value("sumgrad_loss", "r-1") is None
    assert scraped.value("sumgrad_steps_total", "r-1") == 0


def test_step_times_are_a_histogram_for_each_phase(scraped: Scraped) -> None:
    scraped.metrics.run(running())
    observed(scraped.metrics)
    for phase in PHASES:
        assert scraped.value("sumgrad_step_seconds_count", "r-1", phase) == 2
    assert scraped.value("sumgrad_step_seconds_sum", "r-1", "compute") == pytest.approx(0.006)
    buckets = scraped.values("sumgrad_step_seconds_bucket")
    below = {bound: buckets[frozenset(["r-1", "compute", str(bound)])] for bound in BOUNDS}
    assert below == {bound: sum(value <= bound for value in (0.002, 0.004)) for bound in BOUNDS}
    assert buckets[frozenset(["r-1", "channel", str(BOUNDS[-1])])] == 0
    assert buckets[frozenset(["r-1", "channel", "+Inf"])] == 2


def test_a_bound_belongs_to_its_own_bucket(scraped: Scraped) -> None:
    scraped.metrics.run(running())
    observed(scraped.metrics)
    assert scraped.value("sumgrad_step_seconds_bucket", "r-1", "reduce", str(BOUNDS[0])) == 2


def test_an_active_run_has_every_series(scraped: Scraped) -> None:
    scraped.metrics.run(running())
    observed(scraped.metrics)
    assert scraped.names("r-1") == RUN_SERIES


@pytest.mark.parametrize(
    ("state", "name"),
    [
        (run_pb2.RUN_STATE_SUCCEEDED, "succeeded"),
        (run_pb2.RUN_STATE_FAILED, "failed"),
        (run_pb2.RUN_STATE_CANCELLED, "cancelled"),
    ],
)
def test_the_series_of_a_run_that_has_ended_go_and_its_end_is_counted(
    scraped: Scraped, state: run_pb2.RunState, name: str
) -> None:
    for run_id in ("r-1", "r-2"):
        scraped.metrics.run(running(run_id))
        observed(scraped.metrics, run_id)
    scraped.metrics.run(ended("r-1", state))
    assert scraped.runs() == {"r-2"}
    assert scraped.value("sumgrad_runs", name) == 1
    assert scraped.value("sumgrad_runs", "running") == 1


def test_an_end_is_counted_once(scraped: Scraped) -> None:
    scraped.metrics.run(running())
    scraped.metrics.run(ended())
    scraped.metrics.run(ended())
    assert scraped.value("sumgrad_runs", "succeeded") == 1


def test_step_times_that_come_after_the_end_bring_no_series_back(scraped: Scraped) -> None:
    scraped.metrics.run(running())
    scraped.metrics.run(ended())
    observed(scraped.metrics)
    assert scraped.runs() == set()


def test_a_queued_run_has_no_series(scraped: Scraped) -> None:
    scraped.metrics.run(run_pb2.Run(id="r-1", state=run_pb2.RUN_STATE_QUEUED))
    assert scraped.runs() == set()
    assert scraped.value("sumgrad_runs", "queued") == 1


def test_a_thousand_ended_runs_leave_no_more_series_than_none(scraped: Scraped) -> None:
    for i in range(1000):
        scraped.metrics.run(running(f"r-{i}"))
        observed(scraped.metrics, f"r-{i}")
        scraped.metrics.run(ended(f"r-{i}"))
    assert scraped.runs() == set()
    assert scraped.value("sumgrad_runs", "succeeded") == 1000


def test_requests_are_counted_by_method_and_code_from_any_thread(scraped: Scraped) -> None:
    with ThreadPoolExecutor(4) as pool:
        for _ in range(100):
            pool.submit(scraped.metrics.request, "/sumgrad.trainer.v1.TrainerService/GetRun", "OK")
    scraped.metrics.request("/sumgrad.trainer.v1.TrainerService/GetRun", "NOT_FOUND")
    assert scraped.values("sumgrad_grpc_requests_total") == {
        frozenset(["/sumgrad.trainer.v1.TrainerService/GetRun", "OK"]): 100,
        frozenset(["/sumgrad.trainer.v1.TrainerService/GetRun", "NOT_FOUND"]): 1,
    }


def test_promtool_has_nothing_to_say_of_an_idle_service(
    scraped: Scraped, promtool: Callable[[str], None]
) -> None:
    promtool(scraped.text())


def test_promtool_has_nothing_to_say_of_active_runs_and_requests(
    scraped: Scraped, promtool: Callable[[str], None]
) -> None:
    scraped.metrics.request("/sumgrad.trainer.v1.TrainerService/GetRun", "OK")
    scraped.metrics.request("unknown", "UNIMPLEMENTED")
    for run_id in ("r-1", "r-2"):
        scraped.metrics.run(running(run_id))
        observed(scraped.metrics, run_id)
    scraped.metrics.run(run_pb2.Run(id="r-3", state=run_pb2.RUN_STATE_LAUNCHING))
    for run_id, metric in (("r-5", "r2"), ("r-6", "rmse")):
        run = running(run_id, accuracy=None)
        setattr(run.progress, metric, 0.25)
        scraped.metrics.run(run)
    scraped.metrics.run(queued("r-7", -1))
    scraped.metrics.waited(3.0)
    scraped.metrics.run(running("r-4"))
    scraped.metrics.run(ended("r-4"))
    assert scraped.runs() == {"r-1", "r-2", "r-3", "r-5", "r-6"}
    promtool(scraped.text())


def test_promtool_would_find_a_mistake(promtool: Callable[[str], None]) -> None:
    with pytest.raises(AssertionError):
        promtool("# TYPE steps counter\nsteps 1\n")


def test_skipped_steps_are_counted_apart_from_applied_ones(scraped: Scraped) -> None:
    run = running()
    run.progress.skipped_steps = 3
    scraped.metrics.run(run)
    assert scraped.value("sumgrad_steps_skipped_total", "r-1") == 3
    assert scraped.value("sumgrad_steps_total", "r-1") == 40 - 3


def queued(run_id: str, priority: int) -> run_pb2.Run:
    return run_pb2.Run(id=run_id, state=run_pb2.RUN_STATE_QUEUED, priority=priority)


def test_the_queue_has_a_length_for_each_priority(scraped: Scraped) -> None:
    assert scraped.values("sumgrad_queue_length") == {frozenset(["0"]): 0}
    for run_id, priority in (("r-1", 0), ("r-2", 0), ("r-3", -5), ("r-4", 7)):
        scraped.metrics.run(queued(run_id, priority))
    scraped.metrics.run(running("r-1"))
    scraped.metrics.run(ended("r-4"))
    found = scraped.values("sumgrad_queue_length")
    assert found == {frozenset(["0"]): 1, frozenset(["-5"]): 1}


def test_waiting_times_are_a_histogram(scraped: Scraped) -> None:
    for seconds in (0.5, 40.0, 50.0, 1e6):
        scraped.metrics.waited(seconds)
    name = "sumgrad_queue_wait_seconds"
    assert scraped.value(f"{name}_sum") == pytest.approx(1_000_090.5)
    assert scraped.value(f"{name}_bucket", "1.0") == 1
    assert scraped.value(f"{name}_bucket", "15.0") == 1
    assert scraped.value(f"{name}_bucket", "60.0") == 3
    assert scraped.value(f"{name}_bucket", "+Inf") == 4


# --- what dispatches count ---------------------------------------------------------------------

DISPATCH_SERIES = {
    "stale_answers": "sumgrad_stale_answers_total",
    "copies": "sumgrad_range_copies_total",
    "dropped_copies": "sumgrad_range_copies_dropped_total",
    "expelled": "sumgrad_workers_expelled_total",
}


def counting(run_id: str = "r-1", **counts: int) -> run_pb2.Run:
    """A running run whose dispatch has counted so much so far."""
    run = running(run_id)
    run.dispatch.CopyFrom(run_pb2.DispatchCounts(**counts))
    return run


def test_every_count_of_a_dispatch_has_a_series(scraped: Scraped) -> None:
    assert list(DISPATCH_SERIES) == list(run_pb2.DispatchCounts.DESCRIPTOR.fields_by_name)
    assert {scraped.value(series) for series in DISPATCH_SERIES.values()} == {0}


@pytest.mark.parametrize(("field", "series"), DISPATCH_SERIES.items())
def test_counts_of_all_runs_are_added_each_one_once(
    scraped: Scraped, field: str, series: str
) -> None:
    for run_id, so_far in (("r-1", 0), ("r-2", 0), ("r-1", 2), ("r-2", 3), ("r-1", 2), ("r-1", 5)):
        scraped.metrics.run(counting(run_id, **{field: so_far}))
    assert {name: scraped.value(name) for name in DISPATCH_SERIES.values()} == dict.fromkeys(
        DISPATCH_SERIES.values(), 0
    ) | {series: 5 + 3}


def test_counts_never_go_back(scraped: Scraped) -> None:
    for run in (counting(), counting(copies=4), counting(copies=1), counting(copies=4)):
        scraped.metrics.run(run)
    assert scraped.value("sumgrad_range_copies_total") == 4


def test_what_another_service_has_counted_is_not_counted_again(scraped: Scraped) -> None:
    scraped.metrics.run(counting(copies=7))
    assert scraped.value("sumgrad_range_copies_total") == 0
    scraped.metrics.run(counting(copies=8))
    assert scraped.value("sumgrad_range_copies_total") == 1


def test_the_last_counts_of_a_run_come_with_its_end_and_once(scraped: Scraped) -> None:
    last = ended()
    last.dispatch.copies = 3
    for run in (counting(), counting(copies=1), last, last):
        scraped.metrics.run(run)
    assert scraped.value("sumgrad_range_copies_total") == 3


@pytest.mark.slow
def test_every_series_is_on_the_page(scraped: Scraped) -> None:
    series = set(re.findall(r"^# TYPE (\w+)", scraped.text(), re.MULTILINE))
    section = (ROOT / "docs" / "api.md").read_text().split("\n## Metrics\n")[1].split("\n## ")[0]
    assert set(re.findall(r"`(sumgrad_\w+)`", section)) == series
