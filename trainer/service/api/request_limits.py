"""The limits of what a request may hold beside a specification, and their checks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sumgrad.trainer.server.rounds.step_times import BOUNDS
from sumgrad.trainer.v1 import run_pb2, runner_pb2

MAX_REQUEST_ID_CHARACTERS = 128
MAX_LABELS = 64
MAX_LABEL_KEY_CHARACTERS = 64
MAX_LABEL_VALUE_CHARACTERS = 256
HEARTBEAT_SECONDS = 15.0
MIN_HEARTBEAT_SECONDS = 0.1
MAX_HEARTBEAT_SECONDS = 60.0
MAX_SOURCES = 64
MAX_REPORT_NUMBER = 2**63 - 1
MAX_SPEC_BYTES = 2**18
"""More than twice the size of the largest legal specification. It is checked on the event loop, so
a larger one would keep other callers waiting."""


class InvalidRequestError(ValueError):
    """A field of a request has a value that is not allowed."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field


class MalformedRequestError(ValueError):
    """The bytes of a request are not the message of its method."""

    def __init__(self, size: int, error: Exception) -> None:
        found = str(error)[:200] or type(error).__name__
        super().__init__(
            f"the request's {size} bytes are not the message of this method ({found}); "
            "make them with the service's own proto files"
        )


def check_request_id(request_id: str) -> None:
    """Raises InvalidRequestError."""
    if len(request_id) > MAX_REQUEST_ID_CHARACTERS or not request_id.isprintable():
        raise InvalidRequestError(
            "request_id", f"must have at most {MAX_REQUEST_ID_CHARACTERS} printable characters"
        )


def check_spec_size(spec: run_pb2.RunSpec) -> None:
    """Raises InvalidRequestError."""
    size = spec.ByteSize()
    if size > MAX_SPEC_BYTES:
        raise InvalidRequestError("spec", f"must have at most {MAX_SPEC_BYTES} bytes, got {size}")


def check_labels(labels: Mapping[str, str]) -> None:
    """Raises InvalidRequestError."""
    if len(labels) > MAX_LABELS:
        raise InvalidRequestError("labels", f"must be at most {MAX_LABELS}, got {len(labels)}")
    for key, value in labels.items():
        if not 1 <= len(key) <= MAX_LABEL_KEY_CHARACTERS or not key.isprintable() or "=" in key:
            raise InvalidRequestError(
                "labels",
                f"must have keys of 1 to {MAX_LABEL_KEY_CHARACTERS} printable characters "
                f"without '=', got {key[:80]!r}",
            )
        if len(value) > MAX_LABEL_VALUE_CHARACTERS or not value.isprintable():
            raise InvalidRequestError(
                "labels",
                f"must have values of at most {MAX_LABEL_VALUE_CHARACTERS} printable characters, "
                f"got {value[:80]!r} of {key!r}",
            )


def check_text(field: str, text: str) -> None:
    """Raises InvalidRequestError."""
    if not text.isprintable():
        raise InvalidRequestError(field, "must not have control characters")


def check_heartbeat(seconds: float) -> float:
    """The seconds between heartbeats, or the default for 0. Raises InvalidRequestError."""
    if seconds == 0:
        return HEARTBEAT_SECONDS
    if not MIN_HEARTBEAT_SECONDS <= seconds <= MAX_HEARTBEAT_SECONDS:
        raise InvalidRequestError(
            "heartbeat_seconds",
            f"must be from {MIN_HEARTBEAT_SECONDS} to {MAX_HEARTBEAT_SECONDS:.0f}, got {seconds}",
        )
    return seconds


def check_sources(sources: Collection[str]) -> None:
    """Raises InvalidRequestError."""
    if len(sources) > MAX_SOURCES:
        raise InvalidRequestError("sources", f"must be at most {MAX_SOURCES}, got {len(sources)}")


def check_log(lines: Sequence[run_pb2.LogLine]) -> None:
    """Raises InvalidRequestError."""
    for line in lines:
        if line.level not in run_pb2.LogLevel.values():
            raise InvalidRequestError("log", f"must have levels of LogLevel, got {line.level}")
        try:
            line.time.ToJsonString()
        except ValueError:
            raise InvalidRequestError(
                "log",
                "must have times in the years 1 to 9999, with 0 to 999,999,999 ns, got "
                f"{line.time.seconds} s and {line.time.nanos} ns",
            ) from None


def check_reports(reports: Sequence[runner_pb2.RunReport]) -> None:
    """Raises InvalidRequestError."""
    for report in reports:
        if report.number > MAX_REPORT_NUMBER:
            raise InvalidRequestError(
                "reports", f"must have numbers up to {MAX_REPORT_NUMBER}, got {report.number}"
            )
        for phase in report.step_times.phases:
            if len(phase.counts) != len(BOUNDS) + 1:
                raise InvalidRequestError(
                    "reports",
                    f"must have {len(BOUNDS) + 1} buckets a phase, got {len(phase.counts)}",
                )
