"""Specifications: every mistake is named, by its field and in one sentence."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from sumgrad.layers import LAYERS, LOSSES
from sumgrad.layers.base.hyperparameters import Pair
from sumgrad.trainer.arithmetic.early_stopping import EarlyStopping
from sumgrad.trainer.arithmetic.schedules import SCHEDULES
from sumgrad.trainer.arithmetic.update_rules import UPDATE_RULES, Descent, Momentum
from sumgrad.trainer.spec.fit import check_against_data
from sumgrad.trainer.spec.messages import to_document, to_message
from sumgrad.trainer.spec.parse import parse
from sumgrad.trainer.spec.run_spec import Snapshots, Train, Workers
from sumgrad.trainer.spec.violations import InvalidSpecError
from sumgrad.trainer.v1 import run_pb2
from sumgrad.trainer.weights.weight_file import write_weights
from sumgrad.workers.datasets import DATASETS, Digits
from sumgrad.workers.datasets.dataset import NOT_IN_DOCUMENT
from sumgrad.workers.drills.drill import Action, Fault, Point

LIMIT = 8
ABSENT = ...

RULES = "adagrad, adam, adamw, momentum, nesterov, rmsprop, sgd"
LOSS_NAMES = ", ".join(sorted(LOSSES))
LAYER_TYPES = ", ".join(sorted(LAYERS))
NOISE = {"type": "noise", "shape": [8, 8, 1], "rows": 1437, "classes": 10}
FAULT = {"target": "worker-1", "step": 3, "point": "answer", "action": "kill"}
NOT_A_FIELD = "is not a field of a specification here; check its spelling"


def changed(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The document with other values, by path: ``train__epochs=3``; ABSENT takes a field away."""
    for path, value in changes.items():
        *outer, last = path.split("__")
        table = document
        for name in outer:
            table = table[name]
        if value is ABSENT:
            del table[last]
        else:
            table[last] = value
    return document


def violations(document: Any) -> list[str]:
    """Everything that is wrong with a specification, on a service with 8 workers at most."""
    with pytest.raises(InvalidSpecError) as caught:
        check_against_data(parse(document), LIMIT)
    assert str(caught.value) == "\n".join(map(str, caught.value.violations))
    return [str(violation) for violation in caught.value.violations]


def affine(units: Any) -> list[dict[str, Any]]:
    return [{"type": "affine", "units": units}]


ONE_MISTAKE: list[tuple[dict[str, Any], str]] = [
    # The run itself.
    ({"name": ABSENT}, "name: is required"),
    ({"name": ""}, "name: must not be empty"),
    ({"name": 3}, "name: must be a text, got 3"),
    ({"name": "two\nlines"}, "name: must not have control characters"),
    ({"name": "x" * 201}, "name: must have at most 200 characters, got 201"),
    ({"seed": "7"}, "seed: must be a whole number, got '7'"),
    ({"seed": 1.5}, "seed: must be a whole number, got 1.5"),
    ({"seed": True}, "seed: must be a whole number, got True"),
    ({"seed": -1}, "seed: must be ≥ 0, got -1"),
    ({"seed": 2**63}, f"seed: must be ≤ {2**63 - 1}, got {2**63}"),
    ({"sead": 7}, f"sead: {NOT_A_FIELD}"),
    # Data.
    ({"data": ABSENT}, "data: is required"),
    ({"data": {}}, "data.type: must be one of: diabetes, digits, idx, noise, npz, xor; got None"),
    (
        {"data__type": "mnist"},
        "data.type: must be one of: diabetes, digits, idx, noise, npz, xor; got 'mnist'",
    ),
    ({"data__path": "/x"}, f"data.path: {NOT_A_FIELD}"),
    ({"data": {"type": "idx"}}, "data.path: is required"),
    (
        {"data": {"type": "npz", "path": "digits.npz"}},
        "data.path: must be absolute here, got 'digits.npz'",
    ),
    (
        {"data": {"type": "idx", "path": "/nowhere"}},
        "data.path: '/nowhere' cannot be read (No such file or directory); "
        "check the path and its permissions.",
    ),
    (
        {"data": {"type": "npz", "path": "/nowhere.npz"}},
        "data.path: '/nowhere.npz' cannot be read (No such file or directory); "
        "check the path and its permissions.",
    ),
    ({"data": NOISE | {"shape": 3}}, "data.shape: must be a list, got 3"),
    ({"data": NOISE | {"shape": [3, "4"]}}, "data.shape[1]: must be a whole number, got '4'"),
    (
        {"data": NOISE | {"shape": []}},
        "data.shape: must be a list of whole numbers from 1 to 2147483647, got []",
    ),
    (
        {"data": NOISE | {"shape": [3, 0]}},
        "data.shape: must be a list of whole numbers from 1 to 2147483647, got [3, 0]",
    ),
    ({"data": NOISE | {"rows": 0}}, "data.rows: must be ≥ 1, got 0"),
    ({"data": NOISE | {"classes": 0}}, "data.classes: must be ≥ 1, got 0"),
    (
        {"data": NOISE | {"shape": [10_000, 10_000], "rows": 1000}},
        "data: 1125 samples of noise of shape (10000, 10000) take 450000000000 bytes; "
        "at most 4294967296, so use fewer rows.",
    ),
    # Model.
    ({"model": ABSENT}, "model: is required"),
    ({"model": 3}, "model: must be a table of fields, got 3"),
    ({"model__layers": []}, "model.layers: needs at least 1 element(s), got []"),
    ({"model__layers": "affine"}, "model.layers: must be a list, got 'affine'"),
    (
        {"model__layers": [{"type": "relu"}] * 1001},
        "model.layers: must have at most 1000 elements",
    ),
    (
        {"model__layers": [{"type": "relu"}, {"type": "affin"}]},
        f"model.layers[1].type: must be one of: {LAYER_TYPES}; got 'affin'",
    ),
    ({"model__layers": [{}]}, f"model.layers[0].type: must be one of: {LAYER_TYPES}; got None"),
    ({"model__layers": [7]}, f"model.layers[0].type: must be one of: {LAYER_TYPES}; got 7"),
    ({"model__layers": [{"type": "affine"}]}, "model.layers[0].units: is required"),
    ({"model__layers": affine("9")}, "model.layers[0].units: must be a whole number, got '9'"),
    ({"model__layers": affine(0)}, "model.layers[0].units: must be ≥ 1, got 0"),
    ({"model__layers": affine(-4)}, "model.layers[0].units: must be ≥ 1, got -4"),
    (
        {"model__layers": affine(2**31)},
        f"model.layers[0].units: must be ≤ {2**31 - 1}, got {2**31}",
    ),
    (
        {"model__layers": [{"type": "affine", "units": 10, "initialiser": "xavier"}]},
        "model.layers[0].initialiser: must be 'he', 'glorot', 'normal' or 'zeros', got 'xavier'",
    ),
    (
        {"model__layers": [{"type": "affine", "units": 10, "initialiser": 3}]},
        "model.layers[0].initialiser: must be 'he', 'glorot', 'normal' or 'zeros', got 3",
    ),
    (
        {"model__layers": [{"type": "affine_relu", "units": 10, "init_std": 0.0}]},
        "model.layers[0].init_std: must be a finite number > 0, got 0.0",
    ),
    (
        {"model__layers": [{"type": "maxout", "units": 10}]},
        "model.layers[0].pieces: is required",
    ),
    (
        {"model__layers": [{"type": "maxout", "units": 10, "pieces": 0}]},
        "model.layers[0].pieces: must be ≥ 1, got 0",
    ),
    (
        {"model__layers": [{"type": "dropout", "rate": 1.0}]},
        "model.layers[0].rate: must be in [0, 1), got 1.0",
    ),
    (
        {"model__layers": [{"type": "elu", "alpha": -1.0}]},
        "model.layers[0].alpha: must be a finite number > 0, got -1.0",
    ),
    (
        {"model__layers": [{"type": "layer_norm", "epsilon": 0.0}]},
        "model.layers[0].epsilon: must be a finite number > 0, got 0.0",
    ),
    (
        {"model__layers": [*affine(9), {"type": "layer_norm"}, *affine(1), {"type": "layer_norm"}]},
        "model.layers[3]: layer_norm needs at least 2 elements along the last axis to normalise "
        "over, but gets samples of shape (1,)",
    ),
    (
        {"model__layers": [{"type": "flatten", "units": 3}]},
        f"model.layers[0].units: {NOT_A_FIELD}",
    ),
    (
        {"model__layers": affine(2**31 - 1) + affine(10)},
        "model.layers: 161,061,273,535 parameters; at most 2,147,483,647",
    ),
    (
        {"model__layers": affine(9)},
        "model.loss: cross_entropy needs scores of shape (10,), one a class of the data, "
        "but the last layer gives (9,)",
    ),
    ({"model__loss": ABSENT}, "model.loss: is required"),
    ({"model__loss": "mse"}, f"model.loss: must be one of: {LOSS_NAMES}; got 'mse'"),
    (
        {"model__loss": "squared_error"},
        "model.loss: squared_error needs vectors as targets, the data has class numbers",
    ),
    (
        {"model__loss": "logistic"},
        "model.loss: logistic needs two classes or vectors as targets, the data has 10 classes",
    ),
    (
        {"model__loss": "reconstruction"},
        "model.loss: reconstruction needs as many scores as the input's 64 elements, of shape "
        "(8, 8, 1), but the last layer gives (10,)",
    ),
    # Training.
    ({"train": ABSENT}, "train: is required"),
    ({"train__epochs": 0}, "train.epochs: must be ≥ 1, got 0"),
    ({"train__epochs": "2"}, "train.epochs: must be a whole number, got '2'"),
    ({"train__steps": 10}, "train: needs either epochs or steps, and not both"),
    ({"train__epochs": ABSENT}, "train: needs either epochs or steps, and not both"),
    ({"train__batch_size": ABSENT}, "train.batch_size: is required"),
    ({"train__batch_size": 0}, "train.batch_size: must be ≥ 1, got 0"),
    ({"train__batch_size": 64.0}, "train.batch_size: must be a whole number, got 64.0"),
    (
        {"train__batch_size": 1438},
        "train.batch_size: must be at most the 1437 training rows, got 1438; "
        'use "full" for all of them',
    ),
    ({"train__shards": 1025}, "train.shards: must be ≤ 1024, got 1025"),
    ({"train__shards": 65}, "train.shards: must be at most the batch's 64 rows, got 65"),
    (
        {"train__update__rule": "adadelta"},
        f"train.update.rule: must be one of: {RULES}; got 'adadelta'",
    ),
    ({"train__update__learning_rate": ABSENT}, "train.update.learning_rate: is required"),
    (
        {"train__update__learning_rate": math.nan},
        "train.update.learning_rate: must be a finite number > 0, got nan",
    ),
    (
        {"train__update__learning_rate": math.inf},
        "train.update.learning_rate: must be a finite number > 0, got inf",
    ),
    (
        {"train__update__learning_rate": -0.1},
        "train.update.learning_rate: must be a finite number > 0, got -0.1",
    ),
    (
        {"train__update__learning_rate": "0.1"},
        "train.update.learning_rate: must be a number, got '0.1'",
    ),
    (
        {"train__update__momentum": 1.0},
        "train.update.momentum: must be in [0, 1), got 1.0",
    ),
    ({"train__update__rule": "sgd"}, f"train.update.momentum: {NOT_A_FIELD}"),
    (
        {"train__update": {"rule": "adam", "learning_rate": 0.1, "beta2": 1.0}},
        "train.update.beta2: must be in [0, 1), got 1.0",
    ),
    (
        {"train__update": {"rule": "rmsprop", "learning_rate": 0.1, "epsilon": 0.0}},
        "train.update.epsilon: must be a finite number > 1.2e-38, got 0.0",
    ),
    (
        {"train__update": {"rule": "adamw", "learning_rate": 0.1, "weight_decay": -1.0}},
        "train.update.weight_decay: must be a finite number ≥ 0, got -1.0",
    ),
    ({"train__weight_decay": -0.1}, "train.weight_decay: must be ≥ 0, got -0.1"),
    ({"train__weight_decay": math.nan}, "train.weight_decay: must be a finite number, got nan"),
    ({"train__clip_value": 0.0}, "train.clip_value: must be > 0, got 0.0"),
    ({"train__clip_norm": -1.0}, "train.clip_norm: must be > 0, got -1.0"),
    ({"train__clip_norm": math.inf}, "train.clip_norm: must be a finite number, got inf"),
    ({"train__clip_norm": "1"}, "train.clip_norm: must be a number, got '1'"),
    ({"train__warmup_steps": -1}, "train.warmup_steps: must be ≥ 0, got -1"),
    ({"train__warmup_steps": 1.5}, "train.warmup_steps: must be a whole number, got 1.5"),
    (
        {"train__schedule": {"type": "linear"}},
        "train.schedule.type: must be one of: constant, cosine, plateau, step; got 'linear'",
    ),
    (
        {"train__schedule": "cosine"},
        "train.schedule.type: must be one of: constant, cosine, plateau, step; got 'cosine'",
    ),
    ({"train__schedule": {"type": "step"}}, "train.schedule.every_epochs: is required"),
    (
        {"train__schedule": {"type": "step", "every_epochs": 0}},
        "train.schedule.every_epochs: must be ≥ 1, got 0",
    ),
    (
        {"train__schedule": {"type": "cosine", "floor": 1.0}},
        "train.schedule.floor: must be in [0, 1), got 1.0",
    ),
    (
        {"train__schedule": {"type": "plateau", "patience": 2, "step": 1}},
        f"train.schedule.step: {NOT_A_FIELD}",
    ),
    ({"train__stop_after": 0}, "train.stop_after: must be ≥ 1, got 0"),
    ({"train__stop_after": "all"}, "train.stop_after: must be a whole number, got 'all'"),
    (
        {"train__stop_after": 47},
        "train.stop_after: must be at most the 46 steps of the run, got 47",
    ),
    (
        {"train__epochs": ABSENT, "train__steps": 5, "train__stop_after": 6},
        "train.stop_after: must be at most the 5 steps of the run, got 6",
    ),
    (
        {"model__start_from": "weights.safetensors"},
        "model.start_from: must be an absolute path or an address such as s3://bucket/folder, got "
        "'weights.safetensors'",
    ),
    ({"model__start_from": 3}, "model.start_from: must be a text, got 3"),
    (
        {"model__start_from": "/nowhere.safetensors"},
        "model.start_from: The checkpoint /nowhere.safetensors cannot be read (No such file or "
        "directory): name another file.",
    ),
    (
        {"model__start_from": "/nowhere"},
        "model.start_from: /nowhere is neither a snapshot nor weights: name a folder that holds "
        "snapshots, or a file that ends in .json or .safetensors.",
    ),
    ({"train__early_stopping": {}}, "train.early_stopping.patience: is required"),
    ({"train__early_stopping": 5}, "train.early_stopping: must be a table of fields, got 5"),
    (
        {"train__early_stopping": {"patience": 0}},
        "train.early_stopping.patience: must be ≥ 1, got 0",
    ),
    (
        {"train__early_stopping": {"patience": 3, "min_delta": -0.5}},
        "train.early_stopping.min_delta: must be a finite number ≥ 0, got -0.5",
    ),
    (
        {"train__early_stopping": {"patience": 3, "delta": 0.5}},
        f"train.early_stopping.delta: {NOT_A_FIELD}",
    ),
    # Workers.
    ({"workers__count": 0}, "workers.count: must be ≥ 1, got 0"),
    (
        {"workers__count": 5},
        "workers.count: must be at most the 4 shards of a batch, got 5; "
        "raise train.shards or ask for fewer workers",
    ),
    (
        {"workers__count": 9, "train__shards": 16},
        "workers.count: must be at most 8 here, got 9; "
        "ask for fewer workers or use a larger cluster",
    ),
    (
        {"workers__vectors": "shm"},
        "workers.vectors: must be 'auto', 'memory' or 'frames', got 'shm'",
    ),
    (
        {"workers__fingerprint": "none"},
        "workers.fingerprint: must be 'strict' or 'any', got 'none'",
    ),
    (
        {"train__non_finite": "ignore"},
        "train.non_finite: must be 'fail' or 'skip', got 'ignore'",
    ),
    # Snapshots.
    ({"snapshots": {"every_steps": 0}}, "snapshots.every_steps: must be ≥ 1, got 0"),
    ({"snapshots": {"every_seconds": 0}}, "snapshots.every_seconds: must be > 0, got 0"),
    ({"snapshots": {"keep": 0}}, "snapshots.keep: must be ≥ 1, got 0"),
    (
        {"snapshots": {"location": "here"}},
        "snapshots.location: must be an absolute path or an address such as s3://bucket/folder, "
        "got 'here'",
    ),
    (
        {"snapshots": {"location": "simplecache::s3://bucket/folder"}},
        "snapshots.location: must be one address and not a chain of several (::), got "
        "'simplecache::s3://bucket/folder'",
    ),
    (
        {"model__start_from": "zip://x::file:///etc/a.zip"},
        "model.start_from: must be one address and not a chain of several (::), got "
        "'zip://x::file:///etc/a.zip'",
    ),
    # Faults.
    ({"faults": FAULT}, f"faults: must be a list, got {FAULT!r}"),
    ({"faults": [FAULT] * 101}, "faults: must have at most 100 elements"),
    ({"faults": [FAULT, FAULT | {"step": 0}]}, "faults[1].step: must be ≥ 1, got 0"),
    (
        {"faults": [FAULT | {"action": "explode"}]},
        "faults[0].action: must be 'raise', 'kill', 'stop', 'delay' or 'poison', got 'explode'",
    ),
    (
        {"faults": [FAULT | {"point": "applied"}]},
        "faults[0].point: must be one of compute, answer here, got 'applied'",
    ),
    (
        {"faults": [FAULT | {"target": "worker-2"}]},
        "faults[0].target: the run has no worker-2; its workers are worker-0 to worker-1",
    ),
    ({"faults": [FAULT | {"attempts": 2}]}, f"faults[0].attempts: {NOT_A_FIELD}"),
]


@pytest.mark.parametrize(
    ("changes", "expected"), ONE_MISTAKE, ids=[text for _, text in ONE_MISTAKE]
)
def test_a_mistake_is_named_by_its_field_and_one_sentence(
    document: dict[str, Any], changes: dict[str, Any], expected: str
) -> None:
    assert violations(changed(document, **changes)) == [expected]


@pytest.mark.parametrize("content", [3, "digits", None, []])
def test_a_document_that_is_no_table_is_refused(content: Any) -> None:
    assert violations(content) == [f"must be a table of fields, got {content!r}"]


def test_an_empty_document_lacks_every_required_table() -> None:
    assert violations({}) == [
        "name: is required",
        "data: is required",
        "model: is required",
        "train: is required",
    ]


def test_mistakes_that_need_no_data_are_all_found_at_once(document: dict[str, Any]) -> None:
    layers = [{"type": "affine", "units": 0}, {"type": "nope"}, {"type": "affine"}]
    update = {"rule": "momentum", "learning_rate": math.nan, "momentum": 2}
    assert violations(
        changed(
            document,
            seed=-1,
            model__layers=layers,
            train__batch_size=0,
            train__update=update,
            workers__count=0,
            color="red",
        )
    ) == [
        "seed: must be ≥ 0, got -1",
        "model.layers[0].units: must be ≥ 1, got 0",
        f"model.layers[1].type: must be one of: {LAYER_TYPES}; got 'nope'",
        "model.layers[2].units: is required",
        "train.batch_size: must be ≥ 1, got 0",
        "train.update.learning_rate: must be a finite number > 0, got nan",
        "train.update.momentum: must be in [0, 1), got 2.0",
        "workers.count: must be ≥ 1, got 0",
        f"color: {NOT_A_FIELD}",
    ]


def test_mistakes_that_show_only_beside_the_data_are_all_found_at_once(
    document: dict[str, Any],
) -> None:
    assert violations(
        changed(document, model__layers=affine(3), train__batch_size=2000, workers__count=20)
    ) == [
        "model.loss: cross_entropy needs scores of shape (10,), one a class of the data, "
        "but the last layer gives (3,)",
        "train.batch_size: must be at most the 1437 training rows, got 2000; "
        'use "full" for all of them',
        "workers.count: must be at most the 4 shards of a batch, got 20; "
        "raise train.shards or ask for fewer workers",
        "workers.count: must be at most 8 here, got 20; "
        "ask for fewer workers or use a larger cluster",
    ]


def test_a_network_without_parameters_has_nothing_to_train(
    document: dict[str, Any], tmp_path: Path
) -> None:
    classes = np.arange(4)
    x = np.zeros((4, 4), np.float32)
    np.savez(tmp_path / "x.npz", x_train=x, y_train=classes, x_test=x, y_test=classes)
    found = violations(
        changed(
            document,
            data={"type": "npz", "path": str(tmp_path / "x.npz")},
            model__layers=[{"type": "relu"}],
            train__batch_size=4,
        )
    )
    assert found == ["model.layers: no layer has parameters, so there is nothing to train"]


def test_cross_entropy_is_refused_where_targets_are_vectors(
    document: dict[str, Any], tmp_path: Path
) -> None:
    x, y = np.zeros((8, 4), np.float32), np.zeros((8, 10), np.float32)
    np.savez(tmp_path / "x.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    data = {"type": "npz", "path": str(tmp_path / "x.npz")}
    assert violations(changed(document, data=data, train__batch_size=8)) == [
        "model.loss: cross_entropy needs class numbers as targets, the data has vectors"
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"seed": ABSENT},
        {"workers": ABSENT},
        {"train__shards": ABSENT},
        {"train__epochs": ABSENT, "train__steps": 1},
        {"train__batch_size": "full"},
        {"train__batch_size": 1437},
        {"train__update__momentum": ABSENT},
        {"train__update__learning_rate": 1},
        {"train__update": {"rule": "adamw", "learning_rate": 0.01}},
        {"train__weight_decay": 0, "train__clip_value": 1, "train__clip_norm": 0.5},
        {"train__schedule": {"type": "step", "every_epochs": 1}, "train__warmup_steps": 10},
        {"train__schedule": {"type": "plateau", "patience": 0}},
        {"train__early_stopping": {"patience": 1}},
        {"train__stop_after": 46},
        {"train__epochs": ABSENT, "train__steps": 5, "train__stop_after": 1},
        {"workers__count": 4},
        {"workers__fingerprint": "any", "train__non_finite": "skip"},
        {"snapshots": {"every_steps": 10, "every_seconds": 1, "keep": 1, "location": "/snapshots"}},
        {"snapshots": {"location": "s3://bucket/folder"}},
        {"faults": [FAULT, FAULT | {"action": "delay", "seconds": 1, "every_attempt": True}]},
    ],
    ids=str,
)
def test_what_has_no_mistake_is_accepted(document: dict[str, Any], changes: dict[str, Any]) -> None:
    assert check_against_data(parse(changed(document, **changes)), LIMIT).train_rows == 1437


def test_without_a_known_limit_the_shards_alone_bound_the_workers(
    document: dict[str, Any],
) -> None:
    spec = parse(changed(document, workers__count=64, train__shards=64))
    assert check_against_data(spec, None)


def test_a_path_of_a_wrong_type_is_one_mistake(document: dict[str, Any]) -> None:
    data = {"type": "npz", "path": 3}
    assert violations(changed(document, data=data)) == ["data.path: must be a text, got 3"]


@pytest.mark.parametrize("name", ["int", "a[0]"])
def test_an_unknown_field_of_any_name_is_named(document: dict[str, Any], name: str) -> None:
    assert violations(changed(document, **{name: 1})) == [f"{name}: {NOT_A_FIELD}"]


def test_a_value_nested_very_deeply_is_a_mistake_and_no_crash(document: dict[str, Any]) -> None:
    value: Any = 1
    for _ in range(10_000):
        value = [value]
    assert len(violations(changed(document, seed=value))) == 1


# --- tables and messages ------------------------------------------------------------------------

TABLES: list[tuple[str, Mapping[str, Any], Descriptor, str]] = [
    ("LAYERS", LAYERS, run_pb2.Layer.DESCRIPTOR, "type"),
    ("UPDATE_RULES", UPDATE_RULES, run_pb2.Update.DESCRIPTOR, "rule"),
    ("SCHEDULES", SCHEDULES, run_pb2.Schedule.DESCRIPTOR, "type"),
    ("DATASETS", DATASETS, run_pb2.Data.DESCRIPTOR, "type"),
]
BLOCKS = [
    pytest.param(block, message.oneofs_by_name[key], name, id=f"{table}.{name}")
    for table, rows, message, key in TABLES
    for name, block in rows.items()
]
WIRE_TYPES = {
    int: FieldDescriptor.TYPE_INT64,
    float: FieldDescriptor.TYPE_DOUBLE,
    bool: FieldDescriptor.TYPE_BOOL,
    str: FieldDescriptor.TYPE_STRING,
}


@pytest.mark.parametrize(
    ("table", "message", "key"), [row[1:] for row in TABLES], ids=[row[0] for row in TABLES]
)
def test_a_table_and_its_message_name_the_same_blocks(
    table: Mapping[str, Any], message: Descriptor, key: str
) -> None:
    assert {field.name for field in message.oneofs_by_name[key].fields} == set(table)


@pytest.mark.parametrize(("block", "oneof", "name"), BLOCKS)
def test_a_block_and_its_message_have_the_same_fields(block: Any, oneof: Any, name: str) -> None:
    [member] = [field for field in oneof.fields if field.name == name]
    message = member.message_type
    hints = get_type_hints(block)
    documented = [field for field in fields(block) if field.metadata != NOT_IN_DOCUMENT]
    assert {field.name for field in message.fields} == {field.name for field in documented}
    for field in documented:
        hint = hints[field.name]
        is_list = get_origin(hint) is tuple or hint == Pair
        kind = get_args(hint)[0] if isinstance(hint, types.UnionType) or is_list else hint
        on_the_wire = message.fields_by_name[field.name]
        if get_origin(kind) is Literal:
            enum = on_the_wire.enum_type
            prefix = f"{enum.name.upper()}_"
            assert {value.name for value in enum.values} == {
                f"{prefix}UNSPECIFIED",
                *(prefix + choice.upper() for choice in get_args(kind)),
            }
            continue
        assert on_the_wire.type == WIRE_TYPES[kind]
        assert on_the_wire.is_repeated == is_list
        # A number of 0 must be told apart from none; an empty path is wrong either way, and an
        # empty list is none.
        assert on_the_wire.has_presence or is_list or (kind is str and field.default is MISSING)


def test_early_stopping_and_its_message_have_the_same_fields() -> None:
    names = {field.name for field in run_pb2.EarlyStopping.DESCRIPTOR.fields}
    assert names == {field.name for field in fields(EarlyStopping)}


def test_a_fault_and_its_message_have_the_same_fields() -> None:
    assert {field.name for field in run_pb2.Fault.DESCRIPTOR.fields} == {
        field.name for field in fields(Fault)
    }
    assert enum_names(run_pb2.FaultPoint, "FAULT_POINT_") == set(get_args(Point))
    assert enum_names(run_pb2.FaultAction, "FAULT_ACTION_") == set(get_args(Action))


def test_snapshots_and_their_message_have_the_same_fields() -> None:
    names = {field.name for field in run_pb2.Snapshots.DESCRIPTOR.fields}
    assert names == set(Snapshots.model_fields)


def test_faults_and_policies_survive_the_way_to_a_message_and_back(
    document: dict[str, Any],
) -> None:
    faults = [FAULT, FAULT | {"target": "server", "point": "applying", "every_attempt": True}]
    changes = {"faults": faults, "workers__fingerprint": "any", "train__non_finite": "skip"}
    spec = parse(changed(document, **changes))
    assert parse(to_document(to_message(spec))) == spec
    assert spec.faults == [Fault(**fault) for fault in faults]  # type: ignore[arg-type]


def test_every_policy_has_an_enum_value() -> None:
    policies = get_args(Workers.model_fields["fingerprint"].annotation)
    assert enum_names(run_pb2.FingerprintPolicy, "FINGERPRINT_POLICY_") == set(policies)
    policies = get_args(Train.model_fields["non_finite"].annotation)
    assert enum_names(run_pb2.NonFinite, "NON_FINITE_") == set(policies)


def test_a_checkpoint_of_another_network_is_a_mistake(
    document: dict[str, Any], tmp_path: Path
) -> None:
    spec = parse(document)
    network = spec.job().network(Digits().describe())
    path = tmp_path / "weights.safetensors"
    write_weights(path, network, network.init(0), {})
    document["model"]["start_from"] = str(path)
    check_against_data(parse(document), LIMIT)
    document["model"]["layers"][0]["units"] = 17
    assert violations(document) == [
        f"model.start_from: The checkpoint {path} does not fit the network: 0.W is 16×64 there "
        "and 17×64 in the network."
    ]


def test_an_end_and_a_start_survive_the_way_to_a_message_and_back(
    document: dict[str, Any],
) -> None:
    spec = parse(changed(document, train__stop_after=7, model__start_from="/w.safetensors"))
    message = to_message(spec)
    assert (message.train.stop_after, message.model.start_from) == (7, "/w.safetensors")
    assert parse(to_document(message)) == spec


def test_training_and_its_message_have_the_same_fields() -> None:
    names = {field.name for field in run_pb2.Train.DESCRIPTOR.fields} - {"full_batch"}
    assert names == set(Train.model_fields)


def test_a_descent_is_what_the_specification_says(document: dict[str, Any]) -> None:
    changes = {"weight_decay": 0.1, "clip_value": 2.0, "clip_norm": 3.0}
    document["train"] |= changes
    expected = Descent(Momentum(0.1, 0.9), weight_decay=0.1, clip_value=2.0, clip_norm=3.0)
    assert parse(document).descent == expected


def enum_names(enum: Any, prefix: str) -> set[str]:
    names = set(enum.keys()) - {f"{prefix}UNSPECIFIED"}
    return {name.removeprefix(prefix).lower() for name in names}


def test_every_loss_has_an_enum_value() -> None:
    assert enum_names(run_pb2.Loss, "LOSS_") == set(LOSSES)


def test_every_way_of_vectors_has_an_enum_value() -> None:
    ways = get_args(Workers.model_fields["vectors"].annotation)
    assert enum_names(run_pb2.Vectors, "VECTORS_") == set(ways)
