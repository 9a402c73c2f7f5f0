"""The command line as a user has it: real processes, a real Ray, real training."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

from sumgrad.trainer.addresses import DEFAULT_ADDRESS
from sumgrad.trainer.cli import app as command_line
from sumgrad.trainer.cli.exit_codes import ExitCode
from sumgrad.trainer.service.store.run_store import RunStore
from sumgrad.trainer.v1 import run_pb2
from sumgrad.workers.datasets.formats.digits import Digits

from support.commands import (
    SECONDS,
    Command,
    Serve,
    events,
    nothing_is_left,
    processes,
    running,
    short_folder,
)
from support.repository import ROOT
from support.services import CORES, RunningService
from support.waiting import eventually

MNIST_MLP = ROOT / "examples" / "mnist-mlp.toml"
MNIST_LENET = ROOT / "examples" / "mnist-lenet.toml"
MNIST = ROOT.parent / "shared" / "data" / "mnist"
DIGITS = str(ROOT / "examples" / "digits.toml")

LONG_SECONDS = 600.0
"""Bound of a run that takes more than a minute where nothing else is at work."""

ENDLESS = ("--set", "train.epochs=1000000")
PROGRESS = "epoch 1"
"""How a line of figures in a pipe begins, whatever the epoch's other digits."""

JSON_FIELDS = {
    "id", "name", "state", "steps", "epochs", "e_in", "e_out", "accuracy", "r2", "rmse",
    "weights_digest", "weights_path", "samples_per_second", "workers",
}  # fmt: skip


@pytest.fixture
def temporary() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


# --- one service for many commands --------------------------------------------------------------


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    with short_folder() as folder:
        serve = Serve(folder)
        try:
            serve.ready()
            yield serve
            assert serve.terminate() == ExitCode.OK
        finally:
            serve.close()
            eventually(lambda: nothing_is_left(folder), SECONDS)


DIFFERENT_WAYS = {
    "1 worker": ("--workers", "1"),
    "2 workers": ("--workers", "2"),
    "3 workers": ("--workers", "3"),
    "frames": ("--set", "workers.vectors=frames"),
}


@pytest.fixture(scope="module")
def trained(serve: Serve) -> dict[str, dict[str, Any]]:
    """The digits example, trained in different ways; the runs wait for each other in the queue."""
    commands = {
        way: serve.command("run", DIGITS, *options, "--json")
        for way, options in DIFFERENT_WAYS.items()
    }
    found = {}
    for way, command in commands.items():
        assert command.end() == ExitCode.OK, command.err.seen
        found[way] = command.document()
    return found


def test_every_figure_of_a_finished_run_is_in_its_json(
    trained: dict[str, dict[str, Any]],
) -> None:
    for run in trained.values():
        assert run.keys() >= JSON_FIELDS
        # Each run has the one metric of its loss.
        assert {field for field in JSON_FIELDS if run[field] is None} == {"r2", "rmse"}
        assert (run["name"], run["state"], run["steps"], run["epochs"]) == (
            "digits",
            "succeeded",
            40 * 23,
            40,
        )


def test_the_readmes_first_example_prints_what_the_readme_shows(
    serve: Serve, trained: dict[str, dict[str, Any]]
) -> None:
    readme = (ROOT / "README.md").read_text()
    code, shown = re.findall(r"^```(?:python|text)\n(.*?)^```$", readme, re.M | re.S)[:2]
    # It is the first of all.
    assert readme.index("```") == readme.index("```python")
    found = subprocess.run(
        [sys.executable, "-c", code.replace(DEFAULT_ADDRESS, serve.address)],
        cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert (found.returncode, found.stderr) == (0, "")
    *printed, digest = found.stdout.splitlines()
    assert digest == trained["2 workers"]["weights_digest"]
    # Last digits, and so the digest, depend on the kind of processor, and on nothing else.
    *lines, _ = shown.splitlines()
    cut = lines.index("…")
    printed[cut : cut - len(lines) + 1] = ["…"]
    for line, wanted in zip(printed, lines, strict=True):
        assert re.sub(NUMBER, "", line) == re.sub(NUMBER, "", wanted)
        assert numbers(line) == pytest.approx(numbers(wanted), abs=0.01)


NUMBER = r"\d+(?:\.\d+)?"


def numbers(line: str) -> list[float]:
    return [float(number) for number in re.findall(NUMBER, line)]


def test_the_weights_are_the_same_at_any_number_of_workers_and_by_either_channel(
    trained: dict[str, dict[str, Any]],
) -> None:
    assert len({run["weights_digest"] for run in trained.values()}) == 1
    assert len({(run["e_in"], run["e_out"]) for run in trained.values()}) == 1
    assert [run["workers"] for run in trained.values()] == [1, 2, 3, 2]


def test_the_digits_are_learned(trained: dict[str, dict[str, Any]]) -> None:
    assert min(run["accuracy"] for run in trained.values()) >= 0.97


DRILL = """
[snapshots]
every_steps = 50

[[faults]]
target = "worker-0"
step = 100
point = "answer"
action = "kill"

[[faults]]
target = "server"
step = 500
point = "applying"
action = "kill"
"""


@pytest.fixture(scope="module")
def drilled(serve: Serve) -> dict[str, Any]:
    """The digits example with a worker and the server killed on the way."""
    specification = serve.temporary / "drill.toml"
    specification.write_text(Path(DIGITS).read_text() + DRILL)
    run: dict[str, Any] = serve.json(
        "run", str(specification), "--workers", "2", seconds=2 * SECONDS
    )
    return run


def test_a_killed_worker_and_a_killed_server_cost_no_bit(
    serve: Serve, trained: dict[str, dict[str, Any]], drilled: dict[str, Any]
) -> None:
    run = drilled
    folder = serve.temporary / "state" / "runs" / run["id"]
    fired = [json.loads(line) for line in (folder / "faults.jsonl").read_text().splitlines()]
    assert [(one["target"], one["step"]) for one in fired] == [("worker-0", 100), ("server", 500)]
    undisturbed = trained["2 workers"]
    for figure in ("weights_digest", "steps", "e_in", "e_out", "accuracy"):
        assert run[figure] == undisturbed[figure], figure
    # The server was started again within the attempt, from a snapshot.
    happened = events(serve.temporary, run["id"])
    kinds = [event.WhichOneof("kind") for event in happened]
    assert (run["attempt"], kinds.count("restarted"), kinds.count("resumed")) == (1, 1, 1)
    [resumed] = [event.resumed.step for event in happened if event.HasField("resumed")]
    assert 50 <= resumed < 500
    left = [event.membership for event in happened if event.membership.reason]
    assert [(one.worker, one.joined, one.step) for one in left] == [("worker-0", False, 99)]
    eventually(lambda: not any((folder / "snapshots").iterdir()))


def test_the_log_of_a_drilled_run_tells_its_story(serve: Serve, drilled: dict[str, Any]) -> None:
    command = serve.command("logs", drilled["id"], "--follow")
    assert command.end() == ExitCode.OK, command.err.seen
    lines = [json.loads(line) for line in command.out.seen]
    assert [line["sequence"] for line in lines] == list(range(1, len(lines) + 1))
    assert {line["attempt"] for line in lines} == {1}
    told = [(line["source"], line["level"], line["message"]) for line in lines]

    def place(source: str, level: str, start: str) -> int:
        """Of the first such line."""
        found = [
            i for i, (s, n, message) in enumerate(told)
            if (s, n) == (source, level) and message.startswith(start)
        ]  # fmt: skip
        assert found, f"{source} has not said {start!r}: {told}"
        return found[0]

    starts = [
        place("service", "info", "launching"),
        place("runner", "info", "attempt 1 starts"),
        place("server", "info", "worker-0 joined"),
    ]
    deaths = {
        name: [
            place(name, "warning", f"drill: kill at the point {point!r}"),
            place(name, "error", "its process has ended"),
        ]
        for name, point in (("worker-0", "answer"), ("server", "applying"))
    }
    ends = [
        place("runner", "warning", "the parameter server is started again"),
        place("server", "info", "goes on from the snapshot of step"),
        place("server", "info", "the run has succeeded"),
    ]
    for death in deaths.values():
        story = [*starts, *death, *ends[1:]]
        assert story == sorted(story)
    assert [*deaths["server"], *ends] == sorted([*deaths["server"], *ends])
    place("worker-1", "info", "ready on host")
    only = serve.command("logs", drilled["id"], "--source", "worker-0", "--text")
    assert only.end() == ExitCode.OK
    assert all(" worker-0" in line for line in only.out.seen if not line.startswith(" "))


def test_the_weights_of_a_run_are_downloaded_and_predict_what_it_has_reported(
    serve: Serve, drilled: dict[str, Any]
) -> None:
    command = serve.command("weights", drilled["id"], "--output", "w.safetensors")
    assert command.end() == ExitCode.OK, command.err.seen
    content = (serve.temporary / "w.safetensors").read_bytes()
    assert content == Path(drilled["weights_path"]).read_bytes()

    test = Digits().load().test
    x, y = test.batch(np.arange(len(test)))
    np.savez(serve.temporary / "digits.npz", x=x, y=y)
    found = serve.command("predict", drilled["id"], "--input", "digits.npz", "--array", "x")
    assert found.end() == ExitCode.OK, found.err.seen
    predicted = found.document()
    assert predicted["step"] == drilled["steps"]
    assert np.mean(predicted["classes"] == y) == drilled["accuracy"]
    W = {name: array.astype(np.float64) for name, array in load(content).items()}
    hidden = np.maximum(0, x.reshape(len(x), -1) @ W["0.W"].T + W["0.b"])
    scores = hidden @ W["1.W"].T + W["1.b"]
    assert np.allclose(predicted["scores"], scores, rtol=1e-4, atol=1e-4)


def test_a_run_is_verified_by_another_number_of_workers_until_its_record_is_forged(
    serve: Serve, trained: dict[str, dict[str, Any]]
) -> None:
    run = trained["2 workers"]
    found = serve.json("verify", run["id"], "--workers", "1")
    assert (found["same"], found["compared"], found["equal"]) == (True, 41, 41)
    assert (found["workers"], found["weights_digest"]) == (1, run["weights_digest"])
    assert found["receipt_differences"] == []

    forge_digest(serve.temporary / "state" / "runs.db", run["id"], step=46)
    command = serve.command("verify", run["id"], "--workers", "3", "--steps", "80")
    assert command.end() == ExitCode.OTHER_BITS, command.err.seen
    assert "compared        3 epochs, to step 69" in command.out.seen
    assert "equal           2 of 3" in command.out.seen
    assert "first differs   epoch 2 (step 46)" in command.out.seen


def forge_digest(database: Path, run_id: str, step: int) -> None:
    """Write another digest into the record of a run's epoch."""
    with closing(sqlite3.connect(database, timeout=SECONDS)) as store, store:
        for number, sequence, content in store.execute(
            "SELECT number, events.sequence, event FROM events JOIN runs USING (number) "
            "WHERE id = ?",
            (run_id,),
        ).fetchall():
            event = run_pb2.Event.FromString(content)
            if event.epoch.step == step:
                event.epoch.weights_digest = "0" * 64
                store.execute(
                    "UPDATE events SET event = ? WHERE number = ? AND sequence = ?",
                    (event.SerializeToString(), number, sequence),
                )


@pytest.mark.skipif(not MNIST.is_dir(), reason=f"the full MNIST is not at {MNIST}")
def test_mnist_is_learned_within_five_epochs(serve: Serve) -> None:
    run = serve.json("run", str(MNIST_MLP), "--set", f"data.path={MNIST}")
    assert (run["epochs"], run["workers"]) == (5, 2)
    assert run["accuracy"] >= 0.975


@pytest.mark.skipif(not MNIST.is_dir(), reason=f"the full MNIST is not at {MNIST}")
def test_lenet_reads_99_of_100_mnist_digits_within_five_epochs(serve: Serve) -> None:
    run = serve.json("run", str(MNIST_LENET), "--set", f"data.path={MNIST}", seconds=LONG_SECONDS)
    assert (run["epochs"], run["workers"]) == (5, 2)
    assert run["accuracy"] >= 0.99


def test_the_weights_lie_where_the_run_says(
    serve: Serve, trained: dict[str, dict[str, Any]]
) -> None:
    paths = [Path(run["weights_path"]) for run in trained.values()]
    assert len({path.read_bytes() for path in paths}) == 1
    for path in paths:
        assert path.is_relative_to(serve.temporary / "state" / "runs")


def test_a_run_is_submitted_watched_left_scraped_and_cancelled(
    serve: Serve, promtool: Callable[[str], None]
) -> None:
    submit = serve.command("submit", DIGITS, *ENDLESS, "--set", "name=endless")
    assert submit.end() == ExitCode.OK
    [run_id] = submit.out.seen
    assert submit.err.seen == [f"follow it with: sumgrad watch {run_id}"]

    watch = serve.command("watch", run_id, "--json")
    watch.err.wait_for(PROGRESS)
    watch.signal(signal.SIGINT)
    assert watch.end() == ExitCode.INTERRUPTED
    assert watch.err.seen[-1] == f"the run goes on; come back with: sumgrad watch {run_id}"
    assert watch.out.seen == []

    assert serve.json("show", run_id)["state"] == "running"
    scrape = serve.metrics()
    assert f'sumgrad_workers_alive{{run="{run_id}"}} 2.0' in scrape.splitlines()
    assert f'sumgrad_step_seconds_count{{phase="compute",run="{run_id}"}}' in scrape
    promtool(scrape)

    watch = serve.command("watch", run_id)
    watch.err.wait_for(PROGRESS)
    cancelled = serve.json("cancel", run_id)
    assert (cancelled["id"], cancelled["state"]) == (run_id, "cancelled")
    assert watch.end() == ExitCode.RUN_CANCELLED
    assert watch.err.seen[-1].startswith("cancelled")
    scrape = serve.metrics()
    assert run_id not in scrape
    promtool(scrape)


def test_ctrl_c_on_run_at_a_service_leaves_the_run_going(serve: Serve) -> None:
    run = serve.command("run", DIGITS, *ENDLESS, "--workers", "1")
    run.err.wait_for(PROGRESS)
    run.signal(signal.SIGINT)
    assert run.end() == ExitCode.INTERRUPTED
    run_id = run.err.seen[-1].split()[-1]
    assert serve.json("show", run_id)["state"] == "running"
    assert serve.json("cancel", run_id)["state"] == "cancelled"


def test_a_run_that_diverges_fails_and_says_at_which_step(serve: Serve) -> None:
    settings = ("--set", "train.update={rule='sgd', learning_rate=1e30}")
    run = serve.command("run", DIGITS, *settings, "--json")
    assert run.end() == ExitCode.RUN_FAILED
    found = run.document()
    assert found["state"] == "failed"
    assert found["message"].startswith("step ")
    assert found["weights_digest"] is None


def test_runs_are_listed_newest_first(serve: Serve, trained: dict[str, dict[str, Any]]) -> None:
    listed = serve.json("list")
    ids = [run["id"] for run in listed]
    assert set(ids) >= {run["id"] for run in trained.values()}
    assert ids[0] not in {run["id"] for run in trained.values()}
    assert [run["id"] for run in serve.json("list", "--limit", "2")] == ids[:2]
    table = serve.command("list")
    assert table.end() == ExitCode.OK
    assert [line.split()[0] for line in table.out.seen] == ["run", *ids]


def test_after_a_restart_of_the_service_its_runs_are_still_shown(
    serve: Serve, trained: dict[str, dict[str, Any]]
) -> None:
    before = serve.json("list")
    assert serve.terminate() == ExitCode.OK
    eventually(lambda: nothing_is_left(serve.temporary), SECONDS)
    serve.start()
    assert serve.json("list") == before
    for run in trained.values():
        shown = serve.json("show", run["id"])
        assert [mark["epoch"] for mark in shown.pop("digests")] == list(range(1, run["epochs"] + 1))
        assert shown == run


# --- a service for one command ------------------------------------------------------------------


def states(temporary: Path) -> list[run_pb2.RunState]:
    store = RunStore(temporary / "state" / "runs.db")
    try:
        return [stored.run.state for stored in store.page(None, 10)]
    finally:
        store.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_to_run_with_its_own_service_cancels_and_leaves_nothing(
    temporary: Path, number: signal.Signals
) -> None:
    with running("run", DIGITS, *ENDLESS, "--json", temporary=temporary) as command:
        command.err.wait_for(PROGRESS)
        assert any(temporary.glob("sumgrad-ray-*"))
        command.signal(number)
        assert command.end() == ExitCode.INTERRUPTED
    assert "cancelling the run" in command.err.seen
    assert command.out.seen == []
    eventually(lambda: nothing_is_left(temporary), SECONDS)
    assert states(temporary) == [run_pb2.RUN_STATE_CANCELLED]


def test_a_runners_token_is_on_no_command_line_and_in_no_file_of_ray(temporary: Path) -> None:
    with running("run", DIGITS, *ENDLESS, "--json", temporary=temporary) as command:
        command.err.wait_for(PROGRESS)
        store = RunStore(temporary / "state" / "runs.db")
        [run] = store.page(None, 10)
        store.close()
        [folder] = temporary.glob("sumgrad-ray-*")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
        assert any(path.name == "runtime_env_agent.log" for path in files)
        assert run.token
        assert not [path for path in files if run.token.encode() in path.read_bytes()]
        assert not [line for line in processes(temporary).values() if run.token in line]
        command.signal(signal.SIGTERM)
        command.end()


def test_a_run_that_is_killed_with_its_own_service_leaves_no_process(temporary: Path) -> None:
    with running("run", DIGITS, *ENDLESS, temporary=temporary) as command:
        command.err.wait_for(PROGRESS)
        command.signal(signal.SIGKILL)
        assert command.end() == -signal.SIGKILL
    eventually(lambda: nothing_is_left(temporary), SECONDS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_before_the_first_step_cancels_and_leaves_nothing(
    temporary: Path, number: signal.Signals
) -> None:
    with running("run", DIGITS, *ENDLESS, "--json", temporary=temporary) as command:
        command.err.wait_for("r-")
        command.signal(number)
        assert command.end() == ExitCode.INTERRUPTED
    assert "cancelling the run" in command.err.seen
    assert command.out.seen == []
    eventually(lambda: nothing_is_left(temporary), SECONDS)
    assert states(temporary) == [run_pb2.RUN_STATE_CANCELLED]


# --- mistakes on the command line ---------------------------------------------------------------


@pytest.fixture
def sumgrad(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, list[str]]]:
    """Runs a command in this process: exit code, stdout, lines of stderr."""

    def run(*arguments: str) -> tuple[int, str, list[str]]:
        monkeypatch.setattr(sys, "argv", ["sumgrad", *arguments])
        code = command_line.run()
        out, err = capfd.readouterr()
        return code, out, err.splitlines()

    return run


BROKEN = [
    (["seed=seven"], ["seed: must be a whole number"]),
    (["seed=-1"], ["seed: must be ≥ 0, got -1"]),
    (["name="], ["name: must not be empty"]),
    (["nmae=digits"], ["nmae: is not a field"]),
    (["data.type=mnist"], ["data.type: must be one of"]),
    (["data={type='idx', path='/nowhere'}"], ["data.path: '/nowhere' cannot be read"]),
    (["data={type='npz', path='/etc/passwd'}"], ["data.path: '/etc/passwd' is damaged"]),
    (["model.layers=[]"], ["model.layers: needs at least 1 element(s)"]),
    (["model.layers[0].type=attention"], ["model.layers[0].type: must be one of"]),
    (["model.layers[0].units=-128"], ["model.layers[0].units: must be ≥ 1, got -128"]),
    (["model.layers[0].units=many"], ["model.layers[0].units: must be a whole number"]),
    (["model.layers[1].units=11"], ["model.loss: cross_entropy needs scores of shape (10,)"]),
    (["model.layers[7].units=11"], ["--set: 'model.layers[7].units=11' names a place"]),
    (["model.loss=hinge"], ["model.loss: must be one of"]),
    (["model.loss=squared_error"], ["model.loss: squared_error needs vectors"]),
    (["train.steps=10"], ["train: needs either epochs or steps"]),
    (["train.batch_size=0"], ["train.batch_size: must be ≥ 1, got 0"]),
    (["train.batch_size=1438"], ["train.batch_size: must be at most the 1437 training rows"]),
    (["train.shards=65"], ["train.shards: must be at most the batch's 64 rows"]),
    (["train.update.learning_rate=nan"], ["train.update.learning_rate: must be a finite number"]),
    (["train.update.momentum=1"], ["train.update.momentum: must be in [0, 1), got 1.0"]),
    (["workers.count=0"], ["workers.count: must be ≥ 1, got 0"]),
    (["workers.count=5"], ["workers.count: must be at most the 4 shards"]),
    (["workers.count=9", "train.shards=16"], ["workers.count: must be at most 8 here, got 9"]),
    (["workers.vectors=pigeon"], ["workers.vectors: must be 'auto', 'memory' or 'frames'"]),
    (["seed"], ["--set: 'seed' is not of the form"]),
    (
        ["seed=-1", "model.loss=hinge", "train.shards=0"],
        ["seed: must be", "model.loss: must be", "train.shards: must be"],
    ),
]


@pytest.mark.parametrize(
    ("settings", "mistakes"), BROKEN, ids=[" ".join(settings) for settings, _ in BROKEN]
)
def test_a_broken_specification_is_one_clear_error_a_mistake_and_launches_nothing(
    service: RunningService,
    sumgrad: Callable[..., tuple[int, str, list[str]]],
    settings: list[str],
    mistakes: list[str],
) -> None:
    options = [option for setting in settings for option in ("--set", setting)]
    code, out, err = sumgrad("run", DIGITS, *options, "--json", "--address", service.address)
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert len(err) == len(mistakes)
    for line, mistake in zip(err, mistakes, strict=True):
        assert line.startswith(f"error: {mistake}")
    assert service.client.list() == []
    assert service.launcher.launched.empty()


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        (
            ["model.layers=[{type='flatten'}, {type='max_pool', size=2}]"],
            "model.layers[1]: pooling needs samples of height × width × channels, but gets (64,)",
        ),
        (["data={type='npz', path='/nowhere'}"], "data.path: '/nowhere' cannot be read"),
        (["workers.count=9", "train.shards=16"], "workers.count: must be at most 8 here, got 9"),
    ],
    ids=["shapes", "data", "workers"],
)
def test_run_finds_what_does_not_fit_before_it_starts_a_service(
    sumgrad: Callable[..., tuple[int, str, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    settings: list[str],
    mistake: str,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(CORES)))
    monkeypatch.setattr("sumgrad.trainer.cli.service_client._reachable", lambda _address: False)
    monkeypatch.delattr("sumgrad.trainer.service.embedded.EmbeddedService")
    options = [option for setting in settings for option in ("--set", setting)]
    code, out, [line] = sumgrad("run", DIGITS, *options, "--state", str(tmp_path / "state"))
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert line.startswith(f"error: {mistake}")
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "/nowhere.toml", "--json"),
        ("run", DIGITS, "--set", "model.layers[0].units=0", "--json"),
        ("submit", DIGITS, "--workers", "0", "--json"),
    ],
    ids=" ".join,
)
def test_a_broken_specification_ends_the_process_with_code_2(
    temporary: Path, arguments: tuple[str, ...]
) -> None:
    command = Command(*arguments, temporary=temporary)
    assert command.end() == ExitCode.BAD_INPUT
    assert command.out.seen == []
    [line] = command.err.seen
    assert line.startswith("error: ")
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("show", "r-9"), ExitCode.BAD_INPUT, "there is no run 'r-9'"),
        (("watch", "r-9"), ExitCode.BAD_INPUT, "there is no run 'r-9'"),
        (("cancel", "r-9"), ExitCode.BAD_INPUT, "there is no run 'r-9'"),
        (("list", "--address", "nowhere"), ExitCode.BAD_INPUT, "'nowhere' is not host:port"),
        (("list", "--address", "127.0.0.1:1"), ExitCode.NO_SERVICE, "no service answers at"),
        (("submit", DIGITS, "--address", "127.0.0.1:1"), ExitCode.NO_SERVICE, "no service answers"),
        (("serve", "--address", "0.0.0.0:0"), ExitCode.BAD_INPUT, "'0.0.0.0:0' can be reached"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_one_sentence_and_a_code(
    service: RunningService,
    sumgrad: Callable[..., tuple[int, str, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: tuple[str, ...],
    code: ExitCode,
    message: str,
) -> None:
    monkeypatch.setenv("SUMGRAD_ADDRESS", service.address)
    monkeypatch.setenv("SUMGRAD_STATE", str(tmp_path / "other"))
    found, out, [line] = sumgrad(*arguments)
    assert (found, out) == (code, "")
    assert line.startswith(f"error: {message}")


def test_a_port_that_is_taken_is_one_sentence_and_leaves_nothing(
    service: RunningService, temporary: Path
) -> None:
    command = Command(
        "serve", "--address", service.address, "--metrics-address", "127.0.0.1:0",
        temporary=temporary,
    )  # fmt: skip
    assert command.end() == ExitCode.BAD_INPUT
    assert command.err.seen == [
        f"error: {service.address} is in use; stop what listens there or choose another "
        "with --address"
    ]
    assert processes(temporary) == {}
