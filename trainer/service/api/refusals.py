"""Refusals: what each error of the service is called in gRPC, and the details that travel with it.

The one table of errors. A handler or interceptor raises; ``calls/errors_to_status.py`` answers.
"""

from __future__ import annotations

import re

import grpc
from google.rpc import error_details_pb2, status_pb2

from sumgrad.trainer.service.access.authentication import NotAuthenticatedError
from sumgrad.trainer.service.access.caller import NotAllowedError, PriorityNotAllowedError
from sumgrad.trainer.service.api.request_limits import InvalidRequestError, MalformedRequestError
from sumgrad.trainer.service.api.run_errors import (
    CursorExpiredError,
    NotPausedError,
    NotTheRunnerError,
    QueueFullError,
    RunElsewhereError,
    RunEndedError,
    RunFilesError,
    RunNotFoundError,
    ServiceStoppingError,
    WorkersError,
)
from sumgrad.trainer.service.calls.limiter import TooManyCallsError
from sumgrad.trainer.service.calls.slow_readers import SlowReaderError
from sumgrad.trainer.service.outputs.predictor import PredictionsBusyError
from sumgrad.trainer.service.outputs.run_weights import NoWeightsError
from sumgrad.trainer.service.outputs.weights_inbox import WeightsDamagedError, WeightsNotStoredError
from sumgrad.trainer.service.store.run_store import RequestConflictError, RunNotEndedError
from sumgrad.trainer.service.store.store_errors import StoreUnavailableError
from sumgrad.trainer.spec.violations import InvalidSpecError

MESSAGE_BYTES = 600
VIOLATIONS_BYTES = 3500
"""A refusal travels in the trailers, of which clients accept 8 KiB: the message percent-encoded
(up to three bytes for each) and once more, with the violations, as base64."""

RUNNER_CODES: dict[type[Exception], grpc.StatusCode] = {
    NotTheRunnerError: grpc.StatusCode.PERMISSION_DENIED,
    WeightsDamagedError: grpc.StatusCode.DATA_LOSS,
    WeightsNotStoredError: grpc.StatusCode.UNAVAILABLE,
}
"""The errors that only runners receive."""

CODES: dict[type[Exception], grpc.StatusCode] = RUNNER_CODES | {
    InvalidSpecError: grpc.StatusCode.INVALID_ARGUMENT,
    InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    MalformedRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    RequestConflictError: grpc.StatusCode.ALREADY_EXISTS,
    RunNotFoundError: grpc.StatusCode.NOT_FOUND,
    RunEndedError: grpc.StatusCode.FAILED_PRECONDITION,
    RunElsewhereError: grpc.StatusCode.FAILED_PRECONDITION,
    RunNotEndedError: grpc.StatusCode.FAILED_PRECONDITION,
    RunFilesError: grpc.StatusCode.FAILED_PRECONDITION,
    NotPausedError: grpc.StatusCode.FAILED_PRECONDITION,
    WorkersError: grpc.StatusCode.INVALID_ARGUMENT,
    CursorExpiredError: grpc.StatusCode.OUT_OF_RANGE,
    ServiceStoppingError: grpc.StatusCode.UNAVAILABLE,
    NotAuthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    NotAllowedError: grpc.StatusCode.PERMISSION_DENIED,
    PriorityNotAllowedError: grpc.StatusCode.PERMISSION_DENIED,
    StoreUnavailableError: grpc.StatusCode.UNAVAILABLE,
    QueueFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooManyCallsError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    NoWeightsError: grpc.StatusCode.FAILED_PRECONDITION,
    PredictionsBusyError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    SlowReaderError: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""The gRPC status code of each error of the service."""

UNEXPECTED = "the service failed to answer this call; its log says why"
"""The message of every error that is not in the table, whose own text may hold what is private."""

DOMAIN = "sumgrad"
METADATA = {"run": "run_id", "field": "field", "after_sequence": "after_sequence"}
"""The metadata of an ErrorInfo, and the attribute of the error that each entry is taken from."""


def code_of(error: Exception) -> grpc.StatusCode:
    """The error's status code; UNKNOWN for one that is not in the table."""
    return CODES.get(type(error), grpc.StatusCode.UNKNOWN)


def status_of(error: Exception) -> status_pb2.Status:
    """The status that answers a call: an ErrorInfo, and the field violations that the error has."""
    code: int = code_of(error).value[0]
    if type(error) not in CODES:
        return status_pb2.Status(code=code, message=UNEXPECTED)
    status = status_pb2.Status(code=code, message=_cut(str(error)))
    info = error_details_pb2.ErrorInfo(domain=DOMAIN, reason=reason(type(error)))
    for key, attribute in METADATA.items():
        if hasattr(error, attribute):
            info.metadata[key] = str(getattr(error, attribute))[:80]
    if isinstance(error, InvalidSpecError):
        more = len(error.violations) - 1
        status.message = _cut(str(error.violations[0])) + (f" (and {more} more)" if more else "")
        status.details.add().Pack(_bad_request(error))
    status.details.add().Pack(info)
    return status


def reason(kind: type[Exception]) -> str:
    """``RunNotFoundError`` as ``RUN_NOT_FOUND``."""
    name = kind.__name__.removesuffix("Error")
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()


def _bad_request(error: InvalidSpecError) -> error_details_pb2.BadRequest:
    """One field violation for each mistake, as many as fit into VIOLATIONS_BYTES."""
    details = error_details_pb2.BadRequest()
    left = VIOLATIONS_BYTES
    for violation in error.violations:
        field, description = violation.field, _cut(violation.description)
        left -= len(field.encode()) + len(description.encode()) + 8
        if left < 0:
            break
        details.field_violations.add(field=field, description=description)
    return details


def _cut(text: str) -> str:
    """The text, cut to at most MESSAGE_BYTES of UTF-8."""
    content = text.encode()
    if len(content) <= MESSAGE_BYTES:
        return text
    return content[: MESSAGE_BYTES - 3].decode(errors="ignore") + "..."
