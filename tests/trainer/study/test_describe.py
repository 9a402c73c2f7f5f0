"""``sumgrad describe``: shapes, parameters and work of a network that is never built."""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from sumgrad.layers import Affine, AffineReLU
from sumgrad.trainer.cli import app as command_line
from sumgrad.trainer.cli.exit_codes import ExitCode
from sumgrad.trainer.cli.verbs.describe import parse_shape, shape_text, si
from sumgrad.trainer.spec.parse import parse
from sumgrad.trainer.spec.violations import InvalidSpecError
from sumgrad.trainer.study.describe import describe

from support.repository import EXAMPLES

DIGITS = str(EXAMPLES / "digits.toml")
COURSE = str(EXAMPLES / "course-affine.toml")
BATCH = 64


def test_layers_have_their_shapes_parameters_and_work(document: dict[str, Any]) -> None:
    found = describe(parse(document))
    first, second = found.layers
    assert (found.input, first.output, second.output) == ((8, 8, 1), (16,), (10,))
    assert first.parameters == {"W": (16, 64), "b": (16,)}
    assert (first.size, second.size, found.parameters) == (1040, 170, 1210)
    forward, backward = AffineReLU(16).operations((8, 8, 1))
    assert (first.forward, first.backward) == (BATCH * forward, BATCH * backward)
    forward, backward = Affine(10).operations((16,))
    assert (second.forward, second.backward) == (BATCH * forward, BATCH * backward)
    assert found.forward == first.forward + second.forward
    assert found.backward == first.backward + second.backward


def test_bytes_are_outputs_of_the_batch_parameters_and_gradients(document: dict[str, Any]) -> None:
    found = describe(parse(document))
    assert found.input_bytes == 4 * BATCH * 64
    assert [layer.bytes for layer in found.layers] == [
        4 * (BATCH * 16 + 2 * 1040),
        4 * (BATCH * 10 + 2 * 170),
    ]
    assert found.bytes == found.input_bytes + sum(layer.bytes for layer in found.layers)


def test_nobody_goes_back_below_the_first_layer_with_parameters(document: dict[str, Any]) -> None:
    document["model"]["layers"] = [
        {"type": "relu"},
        {"type": "affine", "units": 10},
        {"type": "relu"},
    ]
    backward = [layer.backward for layer in describe(parse(document)).layers]
    assert backward[0] == 0
    assert min(backward[1:]) > 0


@pytest.mark.parametrize(
    ("train", "steps_per_epoch", "steps"),
    [
        ({"epochs": 3, "batch_size": 64}, 23, 69),
        ({"epochs": 3, "batch_size": "full"}, 1, 3),
        ({"steps": 50, "batch_size": 64}, 23, 50),
        ({"steps": 50, "batch_size": 64, "stop_after": 7}, 23, 7),
        ({"epochs": 2, "batch_size": 1}, 1437, 2874),
    ],
)
def test_steps_follow_from_the_rows_of_the_data(
    document: dict[str, Any], train: dict[str, Any], steps_per_epoch: int, steps: int
) -> None:
    update = document["train"]["update"]
    found = describe(parse(document | {"train": train | {"update": update}}))
    assert (found.steps_per_epoch, found.steps) == (steps_per_epoch, steps)
    assert found.batch_size == (1437 if train["batch_size"] == "full" else train["batch_size"])


def test_an_input_shape_stands_in_for_data_that_is_not_here(document: dict[str, Any]) -> None:
    document["data"] = {"type": "idx", "path": "/nowhere"}
    with pytest.raises(InvalidSpecError, match=r"data\.path: '/nowhere' cannot be read"):
        describe(parse(document))
    found = describe(parse(document), (28, 28, 1))
    assert found.layers[0].parameters["W"] == (16, 784)
    assert (found.batch_size, found.shards, found.workers) == (64, 4, 2)
    assert (found.steps_per_epoch, found.steps) == (None, None)
    assert found.refused == ()


def test_a_full_batch_needs_the_data(document: dict[str, Any]) -> None:
    document["train"]["batch_size"] = "full"
    with pytest.raises(InvalidSpecError, match='"full" needs the data, which --input-shape'):
        describe(parse(document), (8, 8, 1))


def test_what_a_run_would_be_refused_for_is_told_beside_the_rest(document: dict[str, Any]) -> None:
    document["model"]["layers"][1]["units"] = 11
    document["workers"]["count"] = 5
    found = describe(parse(document))
    assert [violation.field for violation in found.refused] == ["model.loss", "workers.count"]
    assert found.parameters == 1040 + 187


@pytest.mark.slow
def test_nothing_is_allocated_whatever_the_size(document: dict[str, Any]) -> None:
    document["model"]["layers"] = [{"type": "affine", "units": 2**31 - 1}] * 1000
    spec = parse(document)
    tracemalloc.start()
    try:
        found = describe(spec, (921_600,))
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert found.parameters > 4e21
    assert [violation.field for violation in found.refused] == ["model.layers"]


# --- the command --------------------------------------------------------------------------------

Command = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def sumgrad(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs `describe` in this process: exit code, stdout, lines of stderr."""

    def run(*arguments: str) -> tuple[int, str, list[str]]:
        monkeypatch.setattr(sys, "argv", ["sumgrad", "describe", *arguments])
        code = command_line.run()
        out, err = capfd.readouterr()
        return code, out, err.splitlines()

    return run


def test_the_affine_map_of_the_course_has_849_347_481_600_parameters(sumgrad: Command) -> None:
    code, out, err = sumgrad(COURSE, "--set", "model.loss=squared_error")
    lines = out.splitlines()
    assert (code, err) == (ExitCode.OK, [])
    assert "W 921600×921600, b 921600" in lines[2]
    assert "849,347,481,600" in lines[2]
    assert "a run would be refused: model.layers: 849,347,481,600 parameters; at most" in out


def test_the_table_has_a_line_for_the_input_each_layer_and_the_total(sumgrad: Command) -> None:
    code, out, err = sumgrad(DIGITS)
    lines = out.splitlines()
    assert (code, err) == (ExitCode.OK, [])
    assert [line.split()[:3] for line in lines[1:5]] == [
        ["input", "8×8×1", "16.4"],
        ["0", "affine_relu", "128"],
        ["1", "affine", "10"],
        ["total", "9,610", "3.67"],
    ]
    totals = dict(line.rsplit(maxsplit=1) for line in lines[6:])
    assert totals == {
        "loss": "cross_entropy",
        "batch size": "64",
        "shards": "4",
        "workers": "2",
        "steps per epoch": "23",
        "steps of the run": "920",
    }


def test_json_has_the_exact_numbers(sumgrad: Command) -> None:
    code, out, _ = sumgrad(DIGITS, "--json", "--set", "train.epochs=2")
    found = json.loads(out)
    assert code == ExitCode.OK
    assert found["layers"][0] == {
        "index": 0,
        "type": "affine_relu",
        "output": [128],
        "parameters": {"W": [128, 64], "b": [128]},
        "size": 8320,
        "forward": 64 * (2 * 128 * 64 + 2 * 128),
        "backward": 64 * (4 * 128 * 64 + 2 * 128),
        "bytes": 4 * (64 * 128 + 2 * 8320),
    }
    assert (found["parameters"], found["steps"], found["refused"]) == (9610, 46, [])


def test_what_is_not_known_without_the_data_is_said(sumgrad: Command) -> None:
    _, out, _ = sumgrad(str(EXAMPLES / "mnist-mlp.toml"), "--input-shape", "28x28x1")
    assert "steps per epoch  not known without the data" in out
    _, out, _ = sumgrad(str(EXAMPLES / "mnist-mlp.toml"), "--input-shape", "28x28x1", "--json")
    assert json.loads(out)["steps"] is None


@pytest.mark.parametrize(
    "text", ["", "x", "3x", "0x3", "-3", "3×4", "3x4.5", "9999999999", "3 x 4"]
)
def test_an_input_shape_that_is_none_is_bad_input(sumgrad: Command, text: str) -> None:
    code, out, err = sumgrad(DIGITS, f"--input-shape={text}")
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert len(err) == 1
    assert err[0].startswith("error: --input-shape: must be whole numbers from 1 to 2147483647")


def test_shapes_are_read_and_written() -> None:
    assert parse_shape("480x640x3") == (480, 640, 3)
    assert parse_shape("7") == (7,)
    assert shape_text((480, 640, 3)) == "480×640×3"
    assert shape_text(()) == "1"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1 k"),
        (1234, "1.23 k"),
        (999_499, "999 k"),
        (999_500, "1 M"),
        (999_999, "1 M"),
        (12_345_678, "12.3 M"),
        (326_149_432_934_400, "326 T"),
    ],
)
def test_large_numbers_have_three_digits_and_a_prefix(value: int, text: str) -> None:
    assert si(value) == text


def test_bytes_have_their_unit() -> None:
    assert si(999, "B") == "999 B"
    assert si(1000, "B") == "1 kB"
