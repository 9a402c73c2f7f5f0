"""The check of a whole network: whatever the seed, right ones pass and wrong ones fail."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from sumgrad.layers import Affine, AffineReLU, Flatten, Layer, Network, ReLU, Targets
from sumgrad.layers.base.arrays import Array, Params
from sumgrad.layers.base.context import EVALUATION, Context
from sumgrad.layers.base.layer import Backward
from sumgrad.layers.derivatives.gradient_check import TOLERANCE
from sumgrad.layers.losses import LOSSES, CrossEntropy, Loss, SquaredError
from sumgrad.layers.relu import masked
from sumgrad.trainer.cli import app as command_line
from sumgrad.trainer.cli.exit_codes import ExitCode
from sumgrad.trainer.spec.violations import InvalidSpecError
from sumgrad.trainer.study.gradcheck import MAX_PARAMETERS, check_gradients

from support.repository import EXAMPLES

DIGITS = str(EXAMPLES / "digits.toml")
CLASSES = Targets(10, None, (1,))
OFF = 1.0005


@dataclass(frozen=True)
class WrongFeedback(AffineReLU):
    """δX is a twentieth of a percent too large."""

    def forward(
        self, params: Params, x: Array, context: Context = EVALUATION
    ) -> tuple[Array, Backward]:
        y, right = super().forward(params, x, context)

        def backward(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            dx = right(dy, grads, input_gradient)
            return None if dx is None else OFF * dx

        return y, backward


@dataclass(frozen=True)
class WrongBias(Affine):
    """db is a twentieth of a percent too large."""

    def forward(
        self, params: Params, x: Array, context: Context = EVALUATION
    ) -> tuple[Array, Backward]:
        y, right = super().forward(params, x, context)

        def backward(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            dx = right(dy, grads, input_gradient)
            grads["b"] *= OFF
            return dx

        return y, backward


@dataclass(frozen=True)
class Restless(ReLU):
    """Draws other numbers in every pass, so that it has no derivative."""

    def forward(
        self, params: Params, x: Array, context: Context = EVALUATION
    ) -> tuple[Array, Backward]:
        return super().forward(params, x * np.random.default_rng().random(x.shape), context)


@dataclass(frozen=True)
class Masked(ReLU):
    """Keeps half of the elements, which ones follows from the key alone."""

    def forward(
        self, params: Params, x: Array, context: Context = EVALUATION
    ) -> tuple[Array, Backward]:
        assert context.key is not None
        kept = np.random.default_rng(context.key).random(x.shape) < 0.5

        def backward(dy: Array, grads: Params, input_gradient: bool = True) -> Array | None:
            return dy * kept

        return x * kept, backward


@dataclass(frozen=True)
class WrongLoss(CrossEntropy):
    """δS is a twentieth of a percent too large."""

    def forward(self, s: Array, y: Array) -> tuple[float, Array]:
        loss, ds = super().forward(s, y)
        return loss, OFF * ds


def worst(network: Network, loss: Loss, targets: Targets, seed: int) -> float:
    return check_gradients(network, loss, targets, rows=4, seed=seed).worst


VECTORS = Targets(None, (6,), (1,))
ONE_CLASS = Targets(1, None, (1,))
MLP = Network((Flatten(), AffineReLU(512), Affine(10)), (28, 28, 1))
NARROW = Network((AffineReLU(1), AffineReLU(1), Affine(10)), (1,))
DEEP = Network((*(AffineReLU(16) for _ in range(30)), Affine(10)), (16,))
WIDE = Network((AffineReLU(5000), Affine(10)), (8,))
MASKED = Network((Affine(6), Masked(), Affine(10)), (3,))
FIXED = Network((ReLU(), Flatten()), (5, 2))

RIGHT: list[tuple[str, Network, Loss, Targets, int]] = [
    ("784-512-10", MLP, CrossEntropy(), CLASSES, 5),
    ("one unit a layer", NARROW, CrossEntropy(), CLASSES, 50),
    ("thirty layers", DEEP, CrossEntropy(), CLASSES, 5),
    ("thousands of kinks", WIDE, CrossEntropy(), CLASSES, 5),
    ("one class, a loss of 0", Network((Affine(1),), (3,)), CrossEntropy(), ONE_CLASS, 20),
    ("relu at the end", Network((Affine(6), ReLU()), (3,)), SquaredError(), VECTORS, 50),
    ("no parameters", FIXED, CrossEntropy(), CLASSES, 20),
    ("a fixed key", MASKED, CrossEntropy(), CLASSES, 20),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "loss", "targets", "seeds"),
    [row[1:] for row in RIGHT],
    ids=[row[0] for row in RIGHT],
)
def test_a_right_network_passes_whatever_the_seed(
    network: Network, loss: Loss, targets: Targets, seeds: int
) -> None:
    assert max(worst(network, loss, targets, seed) for seed in range(seeds)) <= TOLERANCE


WRONG_LAYERS: list[tuple[Layer, str]] = [(WrongFeedback(6), "x"), (WrongBias(6), "b")]


@pytest.mark.slow
@pytest.mark.parametrize(("layer", "part"), WRONG_LAYERS)
def test_a_wrong_derivative_fails_in_its_own_place_whatever_the_seed(
    layer: Layer, part: str
) -> None:
    network = Network((AffineReLU(8), layer, Affine(10)), (5,))
    for seed in range(20):
        report = check_gradients(network, CrossEntropy(), CLASSES, rows=4, seed=seed)
        assert not report.passed
        for index, found in enumerate(report.layers):
            for name, error in {"x": found.x, **found.params}.items():
                if (index, name) == (1, part):
                    assert 0.1 < error / (OFF - 1) < 1.1
                else:
                    assert error <= TOLERANCE
        assert report.loss <= TOLERANCE
        assert report.network is not None
        assert report.network > TOLERANCE


def test_a_wrong_loss_fails_alone_and_in_the_whole_network() -> None:
    network = Network((AffineReLU(8), Affine(10)), (5,))
    report = check_gradients(network, WrongLoss(), CLASSES, rows=4, seed=1)
    assert report.network is not None
    assert 0.1 < report.loss / (OFF - 1) < 1.1
    assert 0.1 < report.network / (OFF - 1) < 1.1
    assert all(max(found.x, *found.params.values()) <= TOLERANCE for found in report.layers)


def test_a_layer_that_is_never_twice_the_same_fails() -> None:
    report = check_gradients(Network((Restless(), Affine(10)), (5,)), CrossEntropy(), CLASSES, 4, 1)
    assert report.layers[0].x > TOLERANCE
    assert not report.passed


def test_a_check_follows_from_its_seed_alone() -> None:
    network = Network((AffineReLU(8), Affine(10)), (5,))
    first, second, other = (
        check_gradients(network, CrossEntropy(), CLASSES, 4, seed) for seed in (1, 1, 2)
    )
    assert first == second
    assert first != other


def test_a_network_too_large_to_hold_is_refused_before_anything_is_made() -> None:
    network = Network((Affine(MAX_PARAMETERS),), (1,))
    with pytest.raises(InvalidSpecError, match="100,000,000 parameters; the check takes at most"):
        check_gradients(network, SquaredError(), Targets(None, (MAX_PARAMETERS,), (1,)), 4, 1)


# --- the command --------------------------------------------------------------------------------

Command = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def gradcheck(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs the command in this process: exit code, stdout, lines of stderr."""

    def run(*arguments: str) -> tuple[int, str, list[str]]:
        monkeypatch.setattr(sys, "argv", ["sumgrad", "gradcheck", *arguments])
        code = command_line.run()
        out, err = capfd.readouterr()
        return code, out, err.splitlines()

    return run


def test_the_table_has_a_line_a_layer_the_loss_the_network_and_a_verdict(
    gradcheck: Command,
) -> None:
    code, out, err = gradcheck(DIGITS)
    lines = out.splitlines()
    assert (code, err) == (ExitCode.OK, [])
    assert [line.split()[:3] for line in lines[1:3]] == [
        ["0", "affine_relu", "128"],
        ["1", "affine", "10"],
    ]
    assert all(f"{part} " in line for line in lines[1:3] for part in ("δX", "dW", "db"))
    assert lines[3].split()[:3] == ["loss", "cross_entropy", "δS"]
    assert lines[4].split()[:2] == ["network", "dθ"]
    assert lines[-1] == "all right: no relative error is above 1e-06"


def test_the_command_fails_on_a_wrong_layer(
    gradcheck: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "sumgrad.layers.affine_relu.masked",
        lambda *given, out: np.multiply(masked(*given, out=out), OFF, out=out),
    )
    code, out, _ = gradcheck(DIGITS)
    assert code == ExitCode.CHECK_FAILED
    assert out.splitlines()[-1] == "wrong: a relative error is above 1e-06, marked with !"


def test_json_has_the_same_numbers_and_the_verdict(gradcheck: Command) -> None:
    code, out, _ = gradcheck(DIGITS, "--json", "--seed", "5", "--rows", "2")
    found = json.loads(out)
    assert code == ExitCode.OK
    assert found["passed"] is True
    assert [layer["type"] for layer in found["layers"]] == ["affine_relu", "affine"]
    assert found["layers"][0].keys() == {"index", "type", "output", "x", "params"}
    errors = [found["loss"]["s"], found["network"]]
    for layer in found["layers"]:
        errors += [layer["x"], *layer["params"].values()]
    assert found["worst"] == max(errors) <= found["tolerance"] == TOLERANCE


def test_the_data_is_described_and_not_loaded(
    gradcheck: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("sumgrad.workers.datasets.formats.digits.Digits.load")
    assert gradcheck(DIGITS)[0] == ExitCode.OK


@pytest.mark.parametrize(
    ("setting", "mistake"),
    [
        ("model.layers[1].units=11", "model.loss: cross_entropy needs scores of shape (10,)"),
        ("model.layers[0].units=0", "model.layers[0].units: must be ≥ 1, got 0"),
        ("model.layers[0].units=10000000", "model.layers: 750,000,010 parameters; the check takes"),
    ],
)
def test_a_mistake_in_the_specification_is_bad_input(
    gradcheck: Command, setting: str, mistake: str
) -> None:
    code, out, err = gradcheck(DIGITS, "--set", setting)
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert len(err) == 1
    assert err[0].startswith(f"error: {mistake}")


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_of_the_table_can_be_checked(gradcheck: Command, name: str) -> None:
    for scores, classes in ((10, 10), (1, 2), (64, 10)):
        code, _, err = gradcheck(
            DIGITS,
            "--set", f"data={{type='noise', shape=[8, 8], rows=1437, classes={classes}}}",
            "--set", f"model.layers[1].units={scores}",
            "--set", f"model.loss={name}",
        )  # fmt: skip
        if code != ExitCode.BAD_INPUT:
            assert code == ExitCode.OK, err
            return
    assert name == "squared_error"
