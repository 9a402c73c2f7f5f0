"""The specification as a message: nothing is lost on the way, and nothing gets past the check."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from sumgrad.layers import LAYERS, LOSSES
from sumgrad.layers.base.hyperparameters import Pair
from sumgrad.trainer.arithmetic.early_stopping import EarlyStopping
from sumgrad.trainer.arithmetic.schedules import SCHEDULES
from sumgrad.trainer.arithmetic.update_rules import UPDATE_RULES
from sumgrad.trainer.spec.messages import spec_of, to_document, to_message
from sumgrad.trainer.spec.parse import parse
from sumgrad.trainer.spec.run_spec import RunSpec
from sumgrad.trainer.spec.toml import write_toml
from sumgrad.trainer.spec.violations import InvalidSpecError, Violation
from sumgrad.trainer.v1 import run_pb2
from sumgrad.workers.datasets import DATASETS
from sumgrad.workers.datasets.dataset import NOT_IN_DOCUMENT

COUNTS = st.integers(1, 2**31 - 1)
SMALL_COUNTS = st.integers(1, 1024)
# Inside every range that a hyper-parameter of its type has.
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    int: COUNTS,
    float: st.floats(1e-30, 0.999),
    str: st.text(min_size=1),
    Pair: st.lists(st.integers(1, 1024), min_size=2, max_size=2),
    tuple[int, ...]: st.lists(COUNTS, min_size=1, max_size=4),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a field; a Literal lists its own."""
    return st.sampled_from(get_args(hint)) if get_origin(hint) is Literal else VALUES[hint]


def content(block: Any) -> dict[str, st.SearchStrategy[Any]]:
    """A value for every field of a dataclass that a document has."""
    hints = get_type_hints(block)
    return {f.name: values(hints[f.name]) for f in fields(block) if f.metadata != NOT_IN_DOCUMENT}


def blocks(table: Mapping[str, Any], key: str) -> st.SearchStrategy[dict[str, Any]]:
    """``{type = "affine", units = …}`` for every row of a table."""
    return st.one_of(
        st.fixed_dictionaries({key: st.just(name)} | content(block))
        for name, block in table.items()
    )


def lengths() -> st.SearchStrategy[dict[str, int]]:
    return st.one_of(
        st.fixed_dictionaries({"epochs": COUNTS}), st.fixed_dictionaries({"steps": COUNTS})
    )


DOCUMENTS = st.fixed_dictionaries(
    {
        "name": st.text(min_size=1, max_size=200).filter(str.isprintable),
        "data": blocks(DATASETS, "type"),
        "model": st.fixed_dictionaries(
            {
                "layers": st.lists(blocks(LAYERS, "type"), min_size=1, max_size=5),
                "loss": st.sampled_from(sorted(LOSSES)),
            }
        ),
        "train": st.builds(
            lambda length, rest: length | rest,
            lengths(),
            st.fixed_dictionaries(
                {
                    "batch_size": COUNTS | st.just("full"),
                    "update": blocks(UPDATE_RULES, "rule"),
                },
                optional={
                    "shards": SMALL_COUNTS,
                    "weight_decay": st.floats(0, 1e300),
                    "clip_value": VALUES[float],
                    "clip_norm": VALUES[float],
                    "schedule": blocks(SCHEDULES, "type"),
                    "warmup_steps": st.integers(0, 2**31 - 1),
                    "early_stopping": st.fixed_dictionaries(content(EarlyStopping)),
                },
            ),
        ),
    },
    optional={
        "seed": st.integers(0, 2**63 - 1),
        "workers": st.fixed_dictionaries(
            {},
            optional={
                "count": SMALL_COUNTS,
                "vectors": st.sampled_from(["auto", "memory", "frames"]),
            },
        ),
    },
)
SPECS = DOCUMENTS.map(parse)


def violations(document: Any) -> list[Violation]:
    with pytest.raises(InvalidSpecError) as caught:
        parse(document)
    return caught.value.violations


@pytest.mark.slow
@given(SPECS)
def test_a_specification_comes_back_from_its_message_unchanged(spec: RunSpec) -> None:
    assert spec_of(to_message(spec)) == spec


@pytest.mark.slow
@given(SPECS)
def test_a_specification_comes_back_from_the_bytes_of_its_message(spec: RunSpec) -> None:
    content = to_message(spec).SerializeToString()
    assert spec_of(run_pb2.RunSpec.FromString(content)) == spec


@pytest.mark.slow
@given(SPECS)
def test_a_specification_comes_back_from_its_document(spec: RunSpec) -> None:
    assert parse(spec.document()) == spec


@pytest.mark.slow
@given(SPECS)
def test_a_specification_comes_back_from_toml(spec: RunSpec) -> None:
    document = to_document(to_message(spec))
    assert tomllib.loads(write_toml(document)) == document


def test_a_message_reads_like_the_document(document: dict[str, Any]) -> None:
    document["model"]["layers"] = [
        {"type": "affine_relu", "units": 16, "initialiser": "glorot", "init_std": 0.01},
        {"type": "dropout", "rate": 0.5},
        {"type": "affine", "units": 10, "initialiser": "normal", "init_std": 0.5},
    ]
    document["train"] |= {
        "weight_decay": 0.01,
        "clip_value": 0.5,
        "clip_norm": 2.0,
        "schedule": {"type": "cosine", "floor": 0.1},
        "warmup_steps": 5,
        "early_stopping": {"patience": 3, "min_delta": 0.0},
        "non_finite": "skip",
    }
    document["workers"]["fingerprint"] = "any"
    document["snapshots"] = {
        "every_steps": 100,
        "every_seconds": 30.0,
        "keep": 3,
        "location": "s3://bucket/folder",
    }
    document["faults"] = [
        {
            "target": "server",
            "step": 3,
            "point": "snapshot",
            "action": "delay",
            "seconds": 0.5,
            "every_attempt": True,
        }
    ]
    assert to_document(to_message(parse(document))) == document


def test_a_message_holds_the_defaults_too(document: dict[str, Any]) -> None:
    found = to_document(to_message(parse(document)))
    assert found["snapshots"] == {"every_seconds": 60.0, "keep": 2}
    train = found["train"]
    assert {name: train[name] for name in set(train) - set(document["train"])} == {
        "weight_decay": 0.0,
        "schedule": {"type": "constant"},
        "warmup_steps": 0,
        "non_finite": "fail",
    }


def test_a_message_without_an_initialiser_means_the_default(document: dict[str, Any]) -> None:
    message = to_message(parse(document))
    message.model.layers[1].affine.ClearField("initialiser")
    message.model.layers[1].affine.ClearField("init_std")
    assert spec_of(message) == parse(document)


def test_a_message_without_fields_has_the_mistakes_of_an_empty_document() -> None:
    assert violations(to_document(run_pb2.RunSpec())) == violations({})


def test_empty_messages_have_the_mistakes_of_empty_tables() -> None:
    message = run_pb2.RunSpec(
        data=run_pb2.Data(),
        model=run_pb2.Model(layers=[run_pb2.Layer()]),
        train=run_pb2.Train(
            update=run_pb2.Update(),
            schedule=run_pb2.Schedule(),
            early_stopping=run_pb2.EarlyStopping(),
        ),
        workers=run_pb2.Workers(),
    )
    tables: dict[str, Any] = {
        "data": {},
        "model": {"layers": [{}]},
        "train": {"update": {}, "schedule": {}, "early_stopping": {}},
        "workers": {},
    }
    assert violations(to_document(message)) == violations(tables)


def test_a_zero_on_the_wire_is_a_zero_and_not_an_absent_value(document: dict[str, Any]) -> None:
    message = to_message(parse(document))
    message.train.batch_size = 0
    message.model.layers[1].affine.units = 0
    message.train.update.momentum.learning_rate = 0
    message.train.clip_norm = 0
    message.workers.count = 0
    assert [str(violation) for violation in violations(to_document(message))] == [
        "model.layers[1].units: must be ≥ 1, got 0",
        "train.batch_size: must be ≥ 1, got 0",
        "train.update.learning_rate: must be a finite number > 0, got 0.0",
        "train.clip_norm: must be > 0, got 0.0",
        "workers.count: must be ≥ 1, got 0",
    ]


def test_an_enum_value_from_the_future_is_a_mistake(document: dict[str, Any]) -> None:
    message = to_message(parse(document))
    message.model.loss = 99  # type: ignore[assignment]
    message.model.layers[1].affine.initialiser = 99  # type: ignore[assignment]
    message.workers.vectors = 99  # type: ignore[assignment]
    assert [violation.field for violation in violations(to_document(message))] == [
        "model.layers[1].initialiser",
        "model.loss",
        "workers.vectors",
    ]


def test_a_list_of_numbers_travels_as_one_and_an_empty_list_as_none(
    document: dict[str, Any],
) -> None:
    document["data"] = {"type": "noise", "shape": [8, 8, 1], "rows": 64, "classes": 10}
    message = to_message(parse(document))
    assert message.data.noise.shape == [8, 8, 1]
    assert to_document(message)["data"] == document["data"]
    del message.data.noise.shape[:]
    assert [str(violation) for violation in violations(to_document(message))] == [
        "data.shape: is required"
    ]


def test_batch_size_and_full_batch_exclude_each_other(document: dict[str, Any]) -> None:
    message = to_message(parse(document))
    message.train.full_batch = True
    assert not message.train.HasField("batch_size")
    assert to_document(message)["train"]["batch_size"] == "full"


def damaged(content: bytes, start: int, length: int, replacement: bytes) -> bytes:
    start %= len(content)
    return content[:start] + replacement + content[start + length :]


DAMAGED = st.builds(
    damaged,
    SPECS.map(lambda spec: to_message(spec).SerializeToString()),
    st.integers(0, 10_000),
    st.integers(0, 8),
    st.binary(max_size=8),
)


@pytest.mark.slow
@given(st.binary() | DAMAGED)
def test_whatever_bytes_arrive_they_are_a_specification_or_have_mistakes(content: bytes) -> None:
    try:
        message = run_pb2.RunSpec.FromString(content)
    except DecodeError:
        return
    try:
        spec = spec_of(message)
    except InvalidSpecError:
        return
    assert spec_of(to_message(spec)) == spec
