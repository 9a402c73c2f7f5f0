"""What a run's record says of how its result came to be, and who may not take part in it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from sumgrad.trainer.record.code_digest import code_digest
from sumgrad.trainer.record.receipt import code_version, differences, spec_digest
from sumgrad.trainer.server.training_plan import TrainingPlan
from sumgrad.trainer.spec.messages import to_document, to_message
from sumgrad.trainer.spec.parse import parse
from sumgrad.trainer.v1 import run_pb2
from sumgrad.workers.channel import WorkerEndpoint
from sumgrad.workers.datasets import Dataset, Digits, Split, Xor, data_digest
from sumgrad.workers.host.fingerprint import Fingerprint
from sumgrad.workers.host.probe import fingerprint
from sumgrad.workers.serving import RefusedError
from sumgrad.workers.worker import sums_needed

from support.interrupted import in_folder, interrupt, resumed_at, run_to_end, warnings
from support.leftovers import nothing_left_behind
from support.repository import ROOT
from support.server_process import PromptWriter
from support.training import (
    PLAN,
    SHARDS,
    network,
    played,
    running,
    task_of,
    train,
    word_to,
)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(
        "sumgrad.trainer.server.saving.snapshot_keeper.BackgroundWriter", PromptWriter
    )
    with threadpool_limits(1), nothing_left_behind():
        yield


@pytest.fixture
def plan(tmp_path: Path) -> TrainingPlan:
    return in_folder(PLAN, tmp_path)


# --- the specification -------------------------------------------------------------------------


def test_the_digest_of_a_specification_survives_the_wire(document: dict[str, Any]) -> None:
    document["model"]["layers"] = [
        {"type": "convolution", "channels": 3, "kernel": 3, "padding": [1, 1]},
        {"type": "max_pool", "size": 2},
        *document["model"]["layers"],
    ]
    document["train"] |= {
        "clip_norm": 1,
        "schedule": {"type": "cosine"},
        "early_stopping": {"patience": 3},
    }
    spec = parse(document)
    sent = to_document(to_message(spec))
    assert spec_digest(sent) == spec_digest(spec.document())


def test_the_digest_of_a_specification_covers_every_default(document: dict[str, Any]) -> None:
    """So what a default is need not be part of the code's digest."""
    spelled_out = parse(document).document()
    assert spelled_out["train"].keys() > document["train"].keys(), "nothing is left out"
    assert spec_digest(parse(spelled_out).document()) == spec_digest(spelled_out)
    for section, field, value in (("train", "weight_decay", 0.125), ("train", "warmup_steps", 7)):
        assert field not in document[section]
        changed = {**spelled_out, section: {**spelled_out[section], field: value}}
        assert spec_digest(changed) != spec_digest(spelled_out)


# --- the code ----------------------------------------------------------------------------------


def test_the_code_version_names_the_package_and_its_sources() -> None:
    number, plus, digits = code_version().partition("+")
    assert (number, plus, len(digits)) == (version("sumgrad"), "+", 12)
    assert code_digest(ROOT).startswith(digits)


# --- the data ----------------------------------------------------------------------------------


def test_the_data_digest_is_sha256_of_layout_and_bytes() -> None:
    data = Xor().load()
    arrays = {
        "x_train": data.train.x,
        "y_train": data.train.y,
        "x_test": data.test.x,
        "y_test": data.test.y,
    }
    layout = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    content = json.dumps(layout, separators=(",", ":")).encode()
    content += b"".join(array.tobytes() for array in arrays.values())
    assert data_digest(data) == hashlib.sha256(content).hexdigest()


def test_loading_again_gives_the_same_digest() -> None:
    assert data_digest(Digits().load()) == data_digest(Digits().load())


def changed(data: Dataset, which: str) -> Dataset:
    """The data with one thing changed."""
    train, test = data.train, data.test
    match which:
        case "a sample":
            x = train.x.copy()
            x[-1, -1] += 1
            train = Split(x, train.y, train.scale)
        case "a target":
            y = test.y.copy()
            y[0] = 1 - y[0]
            test = Split(test.x, y, test.scale)
        case "the type":
            train = Split(train.x.astype(np.float64), train.y, train.scale)
        case "the shape":
            train = Split(train.x[..., np.newaxis], train.y, train.scale)
        case "the order":
            train = Split(train.x[::-1], train.y[::-1], train.scale)
        case "the split":
            train, test = test, train
    return dataclasses.replace(data, train=train, test=test)


@pytest.mark.parametrize(
    "which", ["a sample", "a target", "the type", "the shape", "the order", "the split"]
)
def test_other_data_have_another_digest(which: str) -> None:
    data = Xor().load()
    data = dataclasses.replace(data, test=Split(data.test.x[:3], data.test.y[:3], 1.0))
    assert data_digest(changed(data, which)) != data_digest(data)


# --- two receipts ------------------------------------------------------------------------------

THEN = run_pb2.Receipt(
    spec_digest="s",
    code_version="1.0+abc",
    data_digest="d" * 64,
    fingerprint="f",
    fingerprint_parts={"core": "Zen", "numpy": "2.0"},
)


@pytest.mark.parametrize(
    ("fields", "clauses"),
    [
        ({}, []),
        ({"spec_digest": "other"}, []),
        ({"code_version": "1.0+def"}, ["code 1.0+def instead of 1.0+abc"]),
        ({"data_digest": "e" * 64}, ["data eeeeeeeeeeeeeeee… instead of dddddddddddddddd…"]),
        ({"start_digest": "0" * 64}, ["starting weights 0000000000000000… instead of none"]),
        ({"fingerprint": "g"}, ["fingerprint"]),
        (
            {"fingerprint": "g", "fingerprint_parts": {"core": "Elbrus"}},
            ["fingerprint (core Elbrus instead of Zen)"],
        ),
        (
            {"code_version": "2.0+abc", "data_digest": ""},
            ["code 2.0+abc instead of 1.0+abc", "data none instead of dddddddddddddddd…"],
        ),
    ],
)
def test_what_differs_between_two_receipts_is_named(
    fields: dict[str, Any], clauses: list[str]
) -> None:
    now = run_pb2.Receipt()
    now.CopyFrom(THEN)
    parts = fields.pop("fingerprint_parts", {})
    now.MergeFrom(run_pb2.Receipt(**fields))
    now.fingerprint_parts.update(parts)
    for name, value in fields.items():
        setattr(now, name, value)
    assert differences(THEN, now) == clauses


# --- at the server -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_result_has_a_receipt(plan: TrainingPlan) -> None:
    found = train(dataclasses.replace(plan, spec_digest="of the specification"), 2).receipt
    own = fingerprint()
    assert found == run_pb2.Receipt(
        spec_digest="of the specification",
        code_version=code_version(),
        data_digest=data_digest(Digits().load()),
        fingerprint=own.digest,
        fingerprint_parts=own.parts,
    )


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["strict", "any"])
def test_a_worker_that_has_read_other_data_is_refused_and_named(
    plan: TrainingPlan, policy: Any
) -> None:
    undisturbed = train(dataclasses.replace(plan, snapshots=None))
    tolerant = dataclasses.replace(plan, fingerprint=policy)
    # The played worker holds a range, so that the run lasts until the stranger has come.
    with running(tolerant, "w", "x") as run, played(run, "x") as holding:
        run.start("w")
        task_of(holding)
        with WorkerEndpoint(run.address, "x.1", network().size, sums_needed(SHARDS)) as stranger:
            stranger.join("e" * 64)
            refusal = word_to(stranger).stop.refused
        run.lose("x")
        reports = run.reports()
        run.workers[0].end()
    ours = data_digest(Digits().load())
    assert refusal == (
        f"x.1 has read other data (digest eeeeeeeeeeeeeeee… instead of {ours[:16]}…), so it was "
        "refused; have every host read the same files"
    )
    assert warnings(reports) == [refusal]
    assert reports[-1].finished.weights_digest == undisturbed.weights_digest
    assert reports[-1].finished.bitwise


@pytest.mark.slow
def test_a_snapshot_of_other_data_fails_the_run(
    plan: TrainingPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(plan, 11, workers=1)
    ours = data_digest(Digits().load())
    monkeypatch.setattr("sumgrad.workers.serving.data_digest", lambda data: "e" * 64)
    with running(plan, "w") as run:
        run.start("w")
        message = run.fail()
        run.workers[0].end()
    assert message == (
        "the data have changed since the snapshot of step 8 was taken (digest eeeeeeeeeeeeeeee… "
        f"instead of {ours[:16]}…); submit the run anew"
    )


@pytest.mark.slow
def test_what_was_computed_by_other_code_or_another_host_is_not_bitwise(
    plan: TrainingPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train(dataclasses.replace(plan, snapshots=None))
    own = fingerprint()
    other = Fingerprint("0" * 64, own.parts | {"core": "Elbrus"})
    with monkeypatch.context() as patch:
        patch.setattr("sumgrad.trainer.server.rounds.rounds.fingerprint", lambda: other)
        patch.setattr("sumgrad.workers.channel.worker_endpoint.fingerprint", lambda: other)
        patch.setattr("sumgrad.trainer.server.parameter_server.code_version", lambda: "0.0+old")
        interrupt(plan, 11, workers=1)
    reports = run_to_end(plan, 1)
    assert resumed_at(reports) == [8]
    because = (
        f"the first 8 steps were computed otherwise (code 0.0+old instead of {code_version()}, "
        f"fingerprint (core Elbrus instead of {own.parts['core']}))"
    )
    assert warnings(reports) == [f"{because}; the result is not bitwise"]
    result = reports[-1].finished
    assert not result.bitwise
    assert result.not_bitwise_because == because
    assert result.weights_digest == expected.weights_digest
    assert result.receipt.code_version == code_version()


@pytest.mark.slow
def test_an_attempt_that_goes_on_has_the_receipt_of_one_that_was_not_interrupted(
    plan: TrainingPlan,
) -> None:
    expected = train(dataclasses.replace(plan, snapshots=None))
    interrupt(plan, 11, workers=1)
    result = run_to_end(plan, 2)[-1].finished
    assert result.receipt == expected.receipt
    assert result.bitwise


@pytest.mark.slow
def test_a_refused_worker_ends_with_the_reason(
    plan: TrainingPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = iter(["a" * 64, "b" * 64])
    monkeypatch.setattr("sumgrad.workers.serving.data_digest", lambda data: next(digests))
    with running(plan, "w0", "w1") as run:
        for name in ("w0", "w1"):
            run.start(name)
        reports = run.reports()
        refused = []
        for worker in run.workers:
            try:
                worker.end()
            except RefusedError as error:
                refused.append(str(error))
    assert refused == warnings(reports)
    assert len(refused) == 1
    assert reports[-1].finished.workers == 1
