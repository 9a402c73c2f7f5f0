"""The table of refusals, and the status that each error becomes."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

import sumgrad.trainer.service
from sumgrad.trainer.service.api.refusals import CODES, MESSAGE_BYTES, UNEXPECTED, status_of
from sumgrad.trainer.service.api.request_limits import InvalidRequestError
from sumgrad.trainer.service.api.run_errors import CursorExpiredError, RunNotFoundError
from sumgrad.trainer.service.store.store_errors import StoreUnavailableError
from sumgrad.trainer.spec.violations import InvalidSpecError, Violation

NEVER_RAISED_IN_A_CALL = {
    "RunError",  # always one of its subclasses
    "StoreError",  # when the store is opened; a call gets StoreUnavailableError
    "NewerSchemaError",
    "RayError",
    "RayUnreachableError",
}

MADE: dict[type[Exception], Exception] = {
    InvalidSpecError: InvalidSpecError([Violation("seed", "must be ≥ 0")]),
    InvalidRequestError: InvalidRequestError("name", "is wrong"),
    StoreUnavailableError: StoreUnavailableError("away"),
}


def errors_of_the_service() -> set[type[Exception]]:
    """Every class of errors that a module of the service defines."""
    package = sumgrad.trainer.service
    return {
        kind
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        for _, kind in inspect.getmembers(importlib.import_module(info.name), inspect.isclass)
        if issubclass(kind, Exception) and kind.__module__ == info.name
    }


def info_of(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    assert status.details[-1].Unpack(info)
    return info


def test_every_error_of_the_service_is_in_the_table() -> None:
    known = errors_of_the_service()
    assert {kind.__name__ for kind in known - CODES.keys()} <= NEVER_RAISED_IN_A_CALL
    assert CODES.keys() - known == {InvalidSpecError}


def test_every_error_in_the_table_has_a_code_and_a_reason_of_its_own() -> None:
    reasons = set()
    for kind, code in CODES.items():
        status = status_of(MADE.get(kind) or kind.__new__(kind))
        info = info_of(status)
        assert (status.code, info.domain) == (code.value[0], "sumgrad")
        assert info.reason == info.reason.upper()
        reasons.add(info.reason)
    assert len(reasons) == len(CODES)
    assert {"RUN_NOT_FOUND", "INVALID_SPEC", "NOT_THE_RUNNER", "STORE_UNAVAILABLE"} <= reasons


@pytest.mark.parametrize(
    ("error", "metadata"),
    [
        (RunNotFoundError("r-1"), {"run": "r-1"}),
        (InvalidRequestError("labels", "is wrong"), {"field": "labels"}),
        (CursorExpiredError("r-1", 9, 7), {"run": "r-1", "after_sequence": "7"}),
        (RunNotFoundError("r" * 1000), {"run": "r" * 80}),
    ],
    ids=repr,
)
def test_details_name_what_the_error_is_about(error: Exception, metadata: dict[str, str]) -> None:
    assert dict(info_of(status_of(error)).metadata) == metadata


def test_every_mistake_of_a_specification_becomes_a_field_violation() -> None:
    mistakes = [Violation("seed", "must be ≥ 0"), Violation("name", "is missing")]
    status = status_of(InvalidSpecError(mistakes))
    found = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(found)
    assert [(v.field, v.description) for v in found.field_violations] == [
        ("seed", "must be ≥ 0"),
        ("name", "is missing"),
    ]
    assert status.message == "seed: must be ≥ 0 (and 1 more)"


def test_a_long_message_is_cut_between_characters() -> None:
    message = status_of(StoreUnavailableError("≥" * 10_000)).message
    assert message.endswith("≥...")
    assert MESSAGE_BYTES - 3 < len(message.encode()) <= MESSAGE_BYTES


class DerivedError(RunNotFoundError):
    """Not in the table, though its base is."""


@pytest.mark.parametrize("error", [ValueError("a secret"), DerivedError("a secret")], ids=repr)
def test_an_error_that_is_not_in_the_table_says_nothing_of_itself(error: Exception) -> None:
    status = status_of(error)
    assert (status.code, status.message) == (grpc.StatusCode.UNKNOWN.value[0], UNEXPECTED)
    assert not status.details
