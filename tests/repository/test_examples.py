"""What the small examples show, from their very files: server and workers in threads, no Ray."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import root_mean_squared_error
from threadpoolctl import threadpool_limits

from sumgrad.trainer.server.training_plan import TrainingPlan
from sumgrad.trainer.spec.parse import parse
from sumgrad.trainer.spec.toml import read_toml
from sumgrad.trainer.study.describe import describe
from sumgrad.trainer.v1 import run_pb2
from sumgrad.workers.datasets import Digits

from support.leftovers import nothing_left_behind
from support.repository import ROOT
from support.training import train

LN_2 = math.log(2)


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with threadpool_limits(1), nothing_left_behind():
        yield


def example(name: str) -> Path:
    return ROOT / "examples" / f"{name}.toml"


def run(name: str, folder: Path, seed: int | None = None) -> run_pb2.Result:
    """The result of examples/``name``.toml, with its own seed or another."""
    document = read_toml(example(name))
    if seed is not None:
        document["seed"] = seed
    spec = parse(document)
    plan = TrainingPlan(
        job=spec.job(),
        descent=spec.descent,
        epochs=spec.train.epochs,
        steps=spec.train.steps,
        workers=spec.workers.count,
        weights_path=folder / "weights.safetensors",
        metadata={"name": spec.name},
        schedule=spec.train.schedule,
        warmup_steps=spec.train.warmup_steps,
        early_stopping=spec.train.early_stopping,
    )
    return train(plan, spec.workers.count)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [None, 2])
def test_affine_layers_alone_cannot_learn_exclusive_or(tmp_path: Path, seed: int | None) -> None:
    result = run("xor-affine", tmp_path, seed)
    assert result.e_in == result.e_out == pytest.approx(LN_2, abs=1e-6)
    assert result.accuracy == 0.5


@pytest.mark.slow
@pytest.mark.parametrize("seed", [None, 2])
def test_with_one_relu_between_them_they_can(tmp_path: Path, seed: int | None) -> None:
    result = run("xor", tmp_path, seed)
    assert result.accuracy == 1
    assert result.e_out < LN_2 / 3


def test_the_two_halves_of_exclusive_or_differ_by_the_relu_alone() -> None:
    without, with_relu = (read_toml(example(name)) for name in ("xor-affine", "xor"))
    first, *rest = without["model"]["layers"]
    without["model"]["layers"] = [first, {"type": "relu"}, *rest]
    assert with_relu == {**without, "name": "xor"}


@pytest.mark.slow
def test_the_regression_explains_the_held_out_patients_and_stops_at_its_best_epoch(
    tmp_path: Path,
) -> None:
    result = run("diabetes", tmp_path)
    assert result.r2 >= 0.4
    assert result.stopped_early
    patience = read_toml(example("diabetes"))["train"]["early_stopping"]["patience"]
    assert result.best_epoch == result.epochs - patience


@pytest.mark.slow
def test_the_autoencoder_beats_as_many_principal_components(tmp_path: Path) -> None:
    data = Digits().load()
    train_pixels, test_pixels = (
        split.x.reshape(len(split), 64) / 16 for split in (data.train, data.test)
    )
    linear = PCA(8).fit(train_pixels)
    restored = linear.inverse_transform(linear.transform(test_pixels))
    rmse = run("digits-autoencoder", tmp_path).rmse
    assert rmse < 0.15 < root_mean_squared_error(test_pixels.ravel(), restored.ravel())


@pytest.mark.slow
def test_the_support_vector_machine_reads_the_digits(tmp_path: Path) -> None:
    assert run("digits-svm", tmp_path).accuracy >= 0.95


def test_the_courses_convolution_has_921_825_parameters() -> None:
    assert describe(parse(read_toml(example("course-convolution")))).parameters == 921_825


def test_the_page_of_examples_has_a_row_for_each() -> None:
    page = (ROOT / "docs" / "examples.md").read_text()
    named = re.findall(r"^\| \[`(.+?)`\]", page, re.MULTILINE)
    assert sorted(named) == sorted(path.stem for path in (ROOT / "examples").glob("*.toml"))
