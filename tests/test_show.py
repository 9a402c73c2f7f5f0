"""What the command line shows of a run."""

from __future__ import annotations

import pytest

from trainer.cli.show import document, print_summary
from trainer.v1 import run_pb2


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
