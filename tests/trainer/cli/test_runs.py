"""The verbs that submit, follow and end a run: what they print, and their exit codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sumgrad.trainer.cli.exit_codes import ExitCode
from sumgrad.trainer.spec.toml import write_toml
from sumgrad.trainer.v1 import run_pb2, runner_pb2

from support.command_line import Sumgrad
from support.services import RunningService


@pytest.fixture
def spec(tmp_path: Path, document: dict[str, Any]) -> str:
    """The path of a specification."""
    path = tmp_path / "small.toml"
    path.write_text(write_toml(document))
    return str(path)


@pytest.fixture
def at(service: RunningService, sumgrad: Sumgrad, monkeypatch: pytest.MonkeyPatch) -> Sumgrad:
    """The command line, for which the service is the default one."""
    monkeypatch.setenv("SUMGRAD_ADDRESS", service.address)
    return sumgrad


def succeed(service: RunningService, _run_id: str) -> None:
    runner = service.next_runner()
    runner.take()
    runner.report(finished=run_pb2.Result(steps=46, epochs=2, e_in=0.5, e_out=0.25, accuracy=0.9))


def fail(service: RunningService, _run_id: str) -> None:
    runner = service.next_runner()
    runner.take()
    runner.report(failed=runner_pb2.Failed(message="the loss is not finite"))


def cancel(service: RunningService, run_id: str) -> None:
    service.client.cancel(run_id)


@pytest.mark.slow
def test_submit_prints_the_id_alone_and_says_how_to_follow_it(
    at: Sumgrad, spec: str, service: RunningService
) -> None:
    ended = at("submit", spec, "--label", "kind=dry", "--set", "seed=8", "--workers", "1")
    [run] = service.client.list()
    assert (ended.code, ended.out) == (ExitCode.OK, f"{run.id}\n")
    assert ended.err == f"follow it with: sumgrad watch {run.id}\n"
    assert (dict(run.labels), run.spec.seed, run.spec.workers.count) == ({"kind": "dry"}, 8, 1)
    again = at("submit", spec, "--request-id", "one", "--json").json()
    assert at("submit", spec, "--request-id", "one", "--json").json()["id"] == again["id"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "code", "state"),
    [
        (succeed, ExitCode.OK, "succeeded"),
        (fail, ExitCode.RUN_FAILED, "failed"),
        (cancel, ExitCode.RUN_CANCELLED, "cancelled"),
    ],
)
def test_the_exit_code_of_watch_is_the_end_of_the_run(
    end: Callable[[RunningService, str], None],
    code: ExitCode,
    state: str,
    at: Sumgrad,
    spec: str,
    service: RunningService,
) -> None:
    run_id = at("submit", spec).out.strip()
    end(service, run_id)
    shown = at("watch", run_id)
    assert shown.code == code
    assert f"state           {state}\n" in shown.out
    assert at("watch", run_id, "--json").json()["state"] == state


@pytest.mark.parametrize("label", ["kind", "=x", ""])
def test_a_label_without_a_key_or_a_value_is_refused(label: str, at: Sumgrad, spec: str) -> None:
    ended = at("submit", spec, "--label", label)
    assert ended.code == ExitCode.BAD_INPUT
    assert ended.err == f"error: --label must be KEY=VALUE, got {label!r}\n"


def test_every_mistake_of_a_specification_has_a_line(
    at: Sumgrad, spec: str, service: RunningService
) -> None:
    ended = at("run", spec, "--set", "train.epochs=0", "--set", "train.batch_size=0")
    assert ended.code == ExitCode.BAD_INPUT
    assert [line.split(":")[:2] for line in ended.err.splitlines()] == [
        ["error", " train.epochs"],
        ["error", " train.batch_size"],
    ]
    assert service.client.list() == []


@pytest.mark.slow
def test_cancel_waits_for_the_end_and_delete_says_what_it_deleted(
    at: Sumgrad, spec: str, service: RunningService
) -> None:
    at("submit", spec)
    queued = at("submit", spec).out.strip()
    refused = at("delete", queued)
    assert (refused.code, "cancel it first" in refused.err) == (ExitCode.BAD_INPUT, True)
    assert at("cancel", queued, "--json").json()["state"] == "cancelled"
    deleted = at("delete", queued)
    assert (deleted.code, deleted.out, deleted.err) == (ExitCode.OK, "", f"{queued} is deleted\n")
    assert [run.id == queued for run in service.client.list()] == [False]


def test_an_address_where_nobody_answers_has_an_exit_code_of_its_own(sumgrad: Sumgrad) -> None:
    ended = sumgrad("list", "--address", "127.0.0.1:1")
    assert ended.code == ExitCode.NO_SERVICE
    assert ended.err.startswith("error: no service answers at 127.0.0.1:1")
