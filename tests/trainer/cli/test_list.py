"""``sumgrad list``: its columns, its order, and how it fits a terminal."""

from __future__ import annotations

from typing import Any

import pytest
from rich.cells import cell_len

from sumgrad.trainer.cli.exit_codes import ExitCode
from sumgrad.trainer.cli.verbs import list as verb
from sumgrad.trainer.cli.verbs.list import COLUMNS, fitted, print_table, sorted_runs
from sumgrad.trainer.v1 import run_pb2

from support.command_line import Sumgrad
from support.services import RunningService


def run(number: int, name: str = "digits", e_out: float | None = None) -> run_pb2.Run:
    found = run_pb2.Run(
        id=f"r-{number:016x}",
        spec=run_pb2.RunSpec(name=name),
        state=run_pb2.RUN_STATE_QUEUED if e_out is None else run_pb2.RUN_STATE_SUCCEEDED,
    )
    found.created.FromSeconds(1_790_000_000 + number)
    if e_out is not None:
        found.result.CopyFrom(run_pb2.Result(steps=920, e_in=0.00519, e_out=e_out, accuracy=0.9777))
    return found


def queued(number: int, name: str = "digits") -> run_pb2.Run:
    found = run(number, name)
    found.queue.position = 6
    found.queue.reason = "r-656790b9cfe731e9 is before it"
    return found


def lines(runs: list[run_pb2.Run], capsys: pytest.CaptureFixture[str], **options: Any) -> list[str]:
    print_table(runs, **options)
    return capsys.readouterr().out.splitlines()


@pytest.fixture(params=[80, 100, 120])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    return int(request.param)


def test_every_line_fits_the_terminal(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [run(1, "a name that is long, and 网络 " * 3, 0.08), queued(2), run(3, e_out=0.5)]
    found = lines(runs, capsys)
    assert len(found) == 4
    assert max(map(cell_len, found)) <= width
    assert all(found[1:][i].startswith(each.id) for i, each in enumerate(runs))
    assert "position 6" in found[2]


def test_what_ended_shows_name_state_error_and_metric_at_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert lines([run(1, "digits", 0.0799278)], capsys) == [
        "run                 name    state      steps  E_out   metric",
        "r-0000000000000001  digits  succeeded  920    0.0799  accuracy 0.9777",
    ]


def test_a_wide_terminal_and_a_pipe_have_every_column(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    in_a_pipe = lines([queued(1, "x" * 300)], capsys)
    assert in_a_pipe[0].split() == [
        "run", "name", "state", "steps", "E_in", "E_out", "metric", "created", "waits"
    ]  # fmt: skip
    assert "x" * 300 in in_a_pipe[1]
    assert in_a_pipe[1].endswith("position 6: r-656790b9cfe731e9 is before it")
    monkeypatch.setenv("COLUMNS", "500")
    assert lines([queued(1, "x" * 300)], capsys)[0] == in_a_pipe[0]


def test_columns_that_were_asked_for_are_all_there(
    width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    found = lines([run(1, e_out=0.5)], capsys, columns=["created", "e_out", "id"])
    assert found == [
        "created               E_out   run",
        "2026-09-21T14:13:21Z  0.5000  r-0000000000000001",
    ]


def test_cells_are_cut_with_an_ellipsis_and_never_below_their_least_width() -> None:
    texts = {"id": ["run", "r-1"], "name": ["name", "a very long name of a run"]}
    assert fitted(texts, 25, ()) == ["run  name", "r-1  a very long name of…"]
    assert fitted(texts, 2, ()) == ["run  name", "r-1  a very long nam…"]
    assert fitted(texts, None, ()) == ["run  name", "r-1  a very long name of a run"]


def test_names_are_cut_before_a_column_is_left_out() -> None:
    texts = {"name": ["name", "n" * 40], "steps": ["steps", "920"]}
    assert fitted(texts, 30, ["steps"])[1].endswith("…  920")
    assert fitted(texts, 20, ["steps"]) == ["name", "n" * 19 + "…"]


@pytest.mark.parametrize("column", COLUMNS)
def test_runs_can_be_sorted_by_every_column(column: str) -> None:
    runs = [run(2, "b", 0.5), run(3, "c"), run(1, "a", 0.25), queued(4, "d")]
    up, down = sorted_runs(runs, column), sorted_runs(runs, f"-{column}")
    assert {r.id for r in up} == {r.id for r in down} == {r.id for r in runs}


def test_runs_without_a_value_come_last_in_both_directions() -> None:
    a, b, none = run(1, e_out=0.25), run(2, e_out=0.5), run(3)
    assert sorted_runs([none, b, a], "e_out") == [a, b, none]
    assert sorted_runs([none, a, b], "-e_out") == [b, a, none]


def test_equal_runs_stay_in_their_order() -> None:
    a, b, c = run(1, "x"), run(2, "x"), run(3, "w")
    assert sorted_runs([b, a, c], "name") == [c, b, a]


@pytest.mark.slow
def test_the_limit_counts_after_sorting(
    service: RunningService, document: dict[str, Any], sumgrad: Sumgrad
) -> None:
    ids = [service.client.submit(document | {"name": name}).id for name in ("c", "a", "b")]
    found = sumgrad(
        "list", "--sort", "name", "--limit", "2", "--json", "--address", service.address
    )
    assert [each["id"] for each in found.json()] == [ids[1], ids[2]]
    found = sumgrad("list", "--sort", "-name", "--columns", "name", "--address", service.address)
    assert found.out.split() == ["name", "c", "b", "a"]


@pytest.mark.parametrize(("option", "value"), [("--columns", "id,e_aut"), ("--sort", "-e_aut")])
def test_a_column_that_is_not_there_is_refused_with_those_that_are(
    option: str, value: str, sumgrad: Sumgrad
) -> None:
    ended = sumgrad("list", option, value)
    assert ended.code == ExitCode.BAD_INPUT
    assert ended.err == (
        f"error: {option}: there is no column 'e_aut'; there are {', '.join(COLUMNS)}\n"
    )


def test_every_default_column_is_a_column() -> None:
    assert {*verb.DEFAULT_COLUMNS, *verb.DROPPED_COLUMNS, *verb.CUT_COLUMNS} <= set(COLUMNS)
