"""Enum values as words, and back."""

from __future__ import annotations

from typing import Any

import pytest

from sumgrad.trainer.record.enum_names import (
    SERIES,
    STATES,
    level_name,
    level_of,
    number,
    series_name,
    state_name,
    stop_name,
    word,
)
from sumgrad.trainer.v1 import run_pb2, service_pb2

ENUMS = [
    enum for file in (run_pb2, service_pb2) for enum in file.DESCRIPTOR.enum_types_by_name.values()
]


@pytest.mark.parametrize("enum", ENUMS, ids=lambda enum: enum.name)
def test_every_value_of_every_enum_has_a_word_that_leads_back(enum: Any) -> None:
    for value in enum.values:
        found = word(enum, value.number)
        assert found is not None
        assert found.upper() == value.name[-len(found) :]
        assert number(enum, found) == value.number
    assert word(enum, 0) == "unspecified"
    assert word(enum, 999) is None


def test_words_are_what_people_call_the_values() -> None:
    assert list(STATES) == [
        "queued", "launching", "running", "succeeded", "failed", "cancelled", "paused",
    ]  # fmt: skip
    assert list(SERIES) == ["e_in", "metric_in", "samples_per_second", "e_out", "metric_out"]
    assert state_name(run_pb2.RUN_STATE_SUCCEEDED) == "succeeded"
    assert stop_name(run_pb2.STOP_PAUSE) == "pause"
    assert series_name(service_pb2.SERIES_METRIC_OUT) == "metric_out"
    assert level_name(run_pb2.LOG_LEVEL_WARNING) == "warning"
    assert level_of("warning") == run_pb2.LOG_LEVEL_WARNING


def test_a_value_of_a_later_version_is_its_number() -> None:
    later: Any = 99
    assert state_name(later) == "99"


def test_a_word_without_a_value_is_refused() -> None:
    with pytest.raises(KeyError):
        level_of("loud")
