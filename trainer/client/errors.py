"""What the client raises, and which exception a refusal of the service becomes."""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from sumgrad.trainer.spec.violations import InvalidSpecError, Violation


class ClientError(RuntimeError):
    """A call failed; the message is the service's.

    Attributes:
        reason: the service's name for it, like RUN_NOT_FOUND; empty if no service answered.
        metadata: what it is about, like the run.
    """

    def __init__(
        self, message: str, reason: str = "", metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.metadata = dict(metadata or {})


class UnreachableError(ClientError):
    """No service answers at the address."""


class BusyError(ClientError):
    """The service has too many calls under way; nothing was done."""


class NotFoundError(ClientError):
    """There is no such run."""


class PreconditionError(ClientError):
    """The run is not in a state in which this can be done."""


class EndedError(PreconditionError):
    """The run has ended, so this cannot be done to it any more."""


class NotEndedError(PreconditionError):
    """The run has not ended, so this cannot be done to it yet."""


class NotPausedError(PreconditionError):
    """The run is not paused, so it cannot be resumed."""


class ElsewhereError(PreconditionError):
    """Another service looks after the run."""


class FilesError(PreconditionError):
    """The run's files cannot be deleted."""


class NotAuthenticatedError(ClientError):
    """The service asks for a token, or for another one."""


class NotAllowedError(ClientError):
    """The token's role may not do this."""


class QueueFullError(ClientError):
    """The user has as many runs waiting as the service takes."""


class NoWeightsError(PreconditionError):
    """The run has no weights that the service can read."""


class RequestConflictError(ClientError):
    """Something else was submitted with the same request id."""


class InvalidRequestError(ClientError):
    """An argument has a value that it cannot have."""


class WorkersError(InvalidRequestError):
    """The run cannot have so many workers."""


class CursorExpiredError(ClientError):
    """The service does not have the run's events from that sequence number on."""


class WaitTimeoutError(ClientError, TimeoutError):
    """The run has not reached the state within the time that was given."""


REASONS: dict[str, type[ClientError]] = {
    "RUN_NOT_FOUND": NotFoundError,
    "RUN_ENDED": EndedError,
    "RUN_NOT_ENDED": NotEndedError,
    "NOT_PAUSED": NotPausedError,
    "RUN_ELSEWHERE": ElsewhereError,
    "RUN_FILES": FilesError,
    "REQUEST_CONFLICT": RequestConflictError,
    "NOT_AUTHENTICATED": NotAuthenticatedError,
    "NOT_ALLOWED": NotAllowedError,
    "PRIORITY_NOT_ALLOWED": NotAllowedError,
    "QUEUE_FULL": QueueFullError,
    "INVALID_REQUEST": InvalidRequestError,
    "MALFORMED_REQUEST": InvalidRequestError,
    "WORKERS": WorkersError,
    "CURSOR_EXPIRED": CursorExpiredError,
    "NO_WEIGHTS": NoWeightsError,
    "TOO_MANY_CALLS": BusyError,
    "PREDICTIONS_BUSY": BusyError,
    "SERVICE_STOPPING": UnreachableError,
    "SLOW_READER": UnreachableError,
    "STORE_UNAVAILABLE": UnreachableError,
}
"""By the reason in the ErrorInfo. INVALID_SPEC is InvalidSpecError, with every mistake."""

_CODES: dict[grpc.StatusCode, type[ClientError]] = {
    grpc.StatusCode.UNAVAILABLE: UnreachableError,
    grpc.StatusCode.CANCELLED: UnreachableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: UnreachableError,
}
"""By the status code, where there is no reason."""


def typed(error: grpc.RpcError, address: str) -> ClientError | InvalidSpecError:
    """The exception that a gRPC error stands for."""
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    for detail in status.details if status is not None else ():
        detail.Unpack(info)
        bad_request = error_details_pb2.BadRequest()
        if detail.Unpack(bad_request):
            return InvalidSpecError(
                Violation(violation.field, violation.description)
                for violation in bad_request.field_violations
            )
    kind = REASONS.get(info.reason) or _CODES.get(error.code(), ClientError)
    message = error.details() or error.code().name
    if kind is UnreachableError and not info.reason:
        message = _unreachable(error, address)
    return kind(message, info.reason, info.metadata)


def _unreachable(error: grpc.RpcError, address: str) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in (error.details() or ""):
        return (
            f"what answers at {address} has no certificate that is trusted here for this name; "
            "name its CA with SUMGRAD_CA, and the service by a name in its certificate"
        )
    if error.code() == grpc.StatusCode.UNAVAILABLE:
        return (
            f"no service answers at {address}; start one with `sumgrad serve`, or name another "
            "with --address"
        )
    if error.code() == grpc.StatusCode.CANCELLED:
        return f"the service at {address} broke the call off"
    return f"the service at {address} did not answer in time; is it overloaded?"
