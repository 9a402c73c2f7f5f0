"""The values of proto enums as the words that people see: ``RUN_STATE_RUNNING`` is ``running``.

An enum's values share a prefix, that of its value 0: ``RUN_STATE_`` of ``RUN_STATE_UNSPECIFIED``.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import EnumDescriptor

from sumgrad.trainer.v1 import run_pb2, service_pb2


def word(enum: EnumDescriptor, number: int) -> str | None:
    """The word of a value; None if this version of the enum does not have it."""
    found = enum.values_by_number.get(number)
    return None if found is None else str(found.name.removeprefix(_prefix(enum))).lower()


def number(enum: EnumDescriptor, word: str) -> int:
    """The value of a word. Raises KeyError."""
    return int(enum.values_by_name[_prefix(enum) + word.upper()].number)


def _by_word(enum: Any) -> dict[str, Any]:
    """Every value of an enum but ``UNSPECIFIED``, by its word."""
    return {str(word(enum.DESCRIPTOR, value)): value for value in enum.values() if value}


def _prefix(enum: EnumDescriptor) -> str:
    return str(enum.values_by_number[0].name.removesuffix("UNSPECIFIED"))


STATES: dict[str, run_pb2.RunState] = _by_word(run_pb2.RunState)
SERIES: dict[str, service_pb2.Series] = _by_word(service_pb2.Series)


def state_name(state: run_pb2.RunState) -> str:
    """``RUN_STATE_RUNNING`` as ``running``; the number of a state that a later version added."""
    return word(run_pb2.RunState.DESCRIPTOR, state) or str(state)


def stop_name(stop: run_pb2.Stop) -> str:
    """``STOP_PAUSE`` as ``pause``."""
    return word(run_pb2.Stop.DESCRIPTOR, stop) or str(stop)


def level_name(level: run_pb2.LogLevel) -> str:
    """``LOG_LEVEL_INFO`` as ``info``."""
    return word(run_pb2.LogLevel.DESCRIPTOR, level) or str(level)


def level_of(name: str) -> run_pb2.LogLevel:
    """``info`` as ``LOG_LEVEL_INFO``. Raises KeyError."""
    level: Any = number(run_pb2.LogLevel.DESCRIPTOR, name)
    return level


def series_name(series: service_pb2.Series) -> str:
    """``SERIES_E_IN`` as ``e_in``."""
    return word(service_pb2.Series.DESCRIPTOR, series) or str(series)
