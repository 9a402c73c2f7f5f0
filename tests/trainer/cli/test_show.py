"""What the command line says of a run: its metric, its best epoch."""

from __future__ import annotations

import io
import json
import math
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from sumgrad.trainer.cli import run_output
from sumgrad.trainer.cli.output import print_json
from sumgrad.trainer.cli.progress import Bar, Lines
from sumgrad.trainer.cli.run_output import document, metric_labels, print_summary
from sumgrad.trainer.cli.verbs.list import print_table
from sumgrad.trainer.v1 import run_pb2

from support.command_line import Sumgrad
from support.services import RunningService

LABELS = [("accuracy", "accuracy"), ("r2", "R²"), ("rmse", "RMSE")]


def run(**metric: float) -> run_pb2.Run:
    """A run that has succeeded."""
    result = run_pb2.Result(steps=4, epochs=1, e_in=0.5, e_out=0.25, **metric)
    return run_pb2.Run(id="r-1", state=run_pb2.RUN_STATE_SUCCEEDED, result=result)


def test_every_metric_of_the_messages_has_a_label() -> None:
    for message in (run_pb2.Progress, run_pb2.Epoch, run_pb2.Result):
        fields = message.DESCRIPTOR.oneofs_by_name["metric"].fields
        assert (
            [field.name for field in fields]
            == list(metric_labels())
            == [name for name, _ in LABELS]
        )


@pytest.mark.parametrize(("name", "label"), LABELS)
def test_a_run_shows_its_metric_and_no_other(
    name: str, label: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = document(run(**{name: 0.98765}))
    assert {key: found[key] for key in metric_labels()} == dict.fromkeys(metric_labels()) | {
        name: 0.98765
    }
    print_summary(run(**{name: 0.98765}))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line[0] in metric_labels().values()] == [[label, "0.9877"]]
    print_table([run(**{name: 0.98765})])
    assert f"{label} 0.9877" in capsys.readouterr().out


def test_a_run_without_a_metric_shows_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert {document(run())[key] for key in metric_labels()} == {None}
    print_summary(run())
    print_table([run()])
    shown = capsys.readouterr().out
    assert not [label for label in metric_labels().values() if label in shown]


def test_a_metric_that_is_not_finite_is_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(document(run(r2=-math.inf)))
    assert json.loads(capsys.readouterr().out)["r2"] is None


@pytest.mark.parametrize(("name", "label"), LABELS)
def test_following_a_run_shows_its_metric(
    name: str, label: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = Lines()
    lines.progress(run_pb2.Progress(epoch=1, e_in=0.5, samples_per_second=9, **{name: 0.25}))
    lines.epoch(run_pb2.Epoch(epoch=1, e_in=0.5, e_out=0.4, **{name: 0.75}))
    lines.close()
    progress, epoch = capsys.readouterr().err.splitlines()
    assert f"E_in 0.5000 {label} 0.250 9 samples/s" in progress
    assert epoch == f"epoch 1 done: E_in 0.5000 E_out 0.4000 held-out {label} 0.7500"


def test_following_a_run_without_a_metric_shows_none(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    lines.progress(run_pb2.Progress(epoch=1, e_in=0.5, samples_per_second=9))
    lines.epoch(run_pb2.Epoch(epoch=1, e_in=0.5, e_out=0.4))
    lines.close()
    progress, epoch = capsys.readouterr().err.splitlines()
    assert "E_in 0.5000 9 samples/s" in progress
    assert epoch == "epoch 1 done: E_in 0.5000 E_out 0.4000"


def test_a_line_is_written_with_its_end_so_that_nothing_comes_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[str] = []

    class Pipe(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    monkeypatch.setattr(sys, "stderr", Pipe())
    lines = Lines()
    lines.note("one")
    lines.epoch(run_pb2.Epoch(epoch=1, e_in=0.5, e_out=0.4))
    lines.close()
    assert written == ["one\n", "epoch 1 done: E_in 0.5000 E_out 0.4000\n"]


@pytest.mark.parametrize(("name", "label"), LABELS)
def test_the_bar_shows_the_metric(
    name: str, label: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    bar = Bar()
    bar.progress(run_pb2.Progress(epoch=1, steps=4, e_in=0.5, **{name: 0.25}))
    bar.close()
    assert f"E_in 0.5000 · {label} 0.250 · " in capsys.readouterr().err


def ended(**fields: object) -> run_pb2.Run:
    """A run with a result of twelve epochs."""
    result = run_pb2.Result(epochs=12, **fields)  # type: ignore[arg-type]
    return run_pb2.Run(id="r-1", state=run_pb2.RUN_STATE_SUCCEEDED, result=result)


@pytest.mark.parametrize(
    ("stopped_early", "line"),
    [
        (True, "best epoch      7 of 12 (stopped early)"),
        (False, "best epoch      7 of 12"),
    ],
)
def test_the_summary_of_a_run_with_early_stopping_names_its_best_epoch(
    stopped_early: bool, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ended(best_epoch=7, stopped_early=stopped_early)
    print_summary(run)
    assert line in capsys.readouterr().out.splitlines()
    assert document(run)["best_epoch"] == 7
    assert document(run)["stopped_early"] == stopped_early


def test_a_run_without_early_stopping_has_no_best_epoch(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_summary(ended())
    assert "best epoch" not in capsys.readouterr().out
    assert document(ended())["best_epoch"] is None


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"bitwise": True}, "bitwise         yes"),
        (
            {"bitwise": False, "not_bitwise_because": "worker-1 computes with other bits (exp)"},
            "bitwise         no: worker-1 computes with other bits (exp)",
        ),
    ],
)
def test_the_summary_says_whether_a_result_is_bitwise(
    fields: dict[str, object], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_summary(ended(**fields))
    assert line in capsys.readouterr().out.splitlines()
    assert document(ended(**fields))["bitwise"] == fields["bitwise"]
    assert document(ended(**fields))["not_bitwise_because"] == fields.get("not_bitwise_because")


def test_a_run_that_says_nothing_of_its_bits_shows_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_summary(ended())
    assert "bitwise" not in capsys.readouterr().out
    assert document(ended())["bitwise"] is None


def test_skipped_steps_are_shown_where_there_are_any(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(ended())
    assert "skipped" not in capsys.readouterr().out
    print_summary(ended(skipped_steps=3))
    assert "skipped steps   3" in capsys.readouterr().out.splitlines()
    progress = run_pb2.Run(progress=run_pb2.Progress(skipped_steps=2))
    assert document(progress)["skipped_steps"] == 2


def test_what_dispatches_counted_is_shown_where_it_is_not_zero(
    capsys: pytest.CaptureFixture[str],
) -> None:
    quiet, troubled = ended(), ended()
    troubled.dispatch.CopyFrom(run_pb2.DispatchCounts(stale_answers=12, expelled=1))
    print_summary(quiet)
    assert not {"stale answers", "expelled"} & {
        line[:15].strip() for line in capsys.readouterr().out.splitlines()
    }
    print_summary(troubled)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["stale answers   12", "expelled        1"]
    zeros = dict.fromkeys(run_pb2.DispatchCounts.DESCRIPTOR.fields_by_name, 0)
    assert document(quiet)["dispatch"] == zeros
    assert document(troubled)["dispatch"] == zeros | {"stale_answers": 12, "expelled": 1}


def test_the_faults_of_a_specification_are_shown_in_json() -> None:
    fault = run_pb2.Fault(
        target="server",
        step=3,
        point=run_pb2.FAULT_POINT_APPLIED,
        action=run_pb2.FAULT_ACTION_KILL,
    )
    drill = run_pb2.Run(spec=run_pb2.RunSpec(faults=[fault]))
    assert document(drill)["faults"] == [
        {"target": "server", "step": 3, "point": "applied", "action": "kill"}
    ]
    assert document(ended())["faults"] == []


def test_a_run_that_broke_off_shows_how_often(capsys: pytest.CaptureFixture[str]) -> None:
    broken, whole = run(), run()
    broken.attempt, broken.restarts, broken.snapshot_step, whole.attempt = 3, 2, 40, 1
    found = document(broken)
    assert (found["attempt"], found["restarts"], found["snapshot_step"]) == (3, 2, 40)
    print_summary(broken)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["attempts        3", "server restarts 2"]
    print_summary(whole)
    assert "attempts" not in (shown := capsys.readouterr().out)
    assert "restarts" not in shown


def test_a_run_shows_the_workers_that_are_wanted_and_after_its_end_those_it_had() -> None:
    scaled = run_pb2.Run(workers=2, progress=run_pb2.Progress(workers=1))
    scaled.spec.workers.count = 1
    assert run_output.document(scaled)["workers"] == 2
    scaled.result.workers = 3
    assert run_output.document(scaled)["workers"] == 3


@pytest.mark.slow
def test_a_specification_is_shown_as_toml_that_can_be_submitted_again(
    service: RunningService, document: dict[str, Any], sumgrad: Sumgrad, tmp_path: Path
) -> None:
    run = service.client.submit(document)
    again = tmp_path / "again.toml"
    again.write_text(sumgrad("show", run.id, "--spec", "--address", service.address).out)
    assert service.client.submit(again).info.spec == run.info.spec
    shown = sumgrad("show", run.id, "--spec", "--json", "--address", service.address).json()
    assert shown == tomllib.loads(again.read_text())


def test_a_message_has_no_control_characters_when_it_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_summary(run_pb2.Run(message="a\x1b[31m\nb"))
    assert "message         a\\x1b[31m\nb\n" in capsys.readouterr().out
