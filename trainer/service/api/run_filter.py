"""Which runs a list has, in which order, and where a page of it begins."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sumgrad.trainer.service.api.request_limits import MAX_LABELS, InvalidRequestError, check_text
from sumgrad.trainer.v1 import run_pb2, service_pb2

NEWEST_FIRST = "created desc"
OLDEST_FIRST = "created asc"


class Cursor(NamedTuple):
    """A run's place in the order of creation, which later runs do not change."""

    created: int
    number: int

    def __str__(self) -> str:
        return f"{self.created}-{self.number}"


@dataclass(frozen=True)
class RunFilter:
    """Which runs a list has.

    Attributes:
        states: the run is in one of these; empty for any.
        name: the run has this name, or one that begins so if it ends with ``*``; empty for any.
        labels: the run has all of these.
        owner: the run is this user's; None for anybody's.
        id_prefix: the run's id begins so; empty for any.
        oldest_first: the order, by the time of creation.
    """

    states: frozenset[int] = frozenset()
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    oldest_first: bool = False
    owner: str | None = None
    id_prefix: str = ""


def parse_filter(request: service_pb2.ListRunsRequest, owner: str | None = None) -> RunFilter:
    """The filter that a request asks for, within an owner's runs. Raises InvalidRequestError."""
    for state in frozenset(request.states):
        if state not in run_pb2.RunState.values() or state == run_pb2.RUN_STATE_UNSPECIFIED:
            raise InvalidRequestError("states", f"has no state of number {state}")
    if request.order_by not in ("", NEWEST_FIRST, OLDEST_FIRST):
        raise InvalidRequestError(
            "order_by",
            f"must be '{NEWEST_FIRST}' or '{OLDEST_FIRST}', got {request.order_by[:80]!r}",
        )
    check_text("name", request.name)
    check_text("id_prefix", request.id_prefix)
    if len(request.labels) > MAX_LABELS:
        raise InvalidRequestError(
            "labels", f"must be at most {MAX_LABELS}, got {len(request.labels)}"
        )
    for key, value in request.labels.items():
        check_text("labels", key)
        check_text("labels", value)
    return RunFilter(
        frozenset(request.states),
        request.name,
        dict(request.labels),
        request.order_by == OLDEST_FIRST,
        owner,
        request.id_prefix,
    )


def parse_cursor(token: str) -> Cursor | None:
    """The place after which a page begins; None for the first. Raises InvalidRequestError."""
    if not token:
        return None
    found = re.fullmatch(r"([0-9]{1,18})-([0-9]{1,18})", token)
    if found is None:
        raise InvalidRequestError("page_token", "must be the next_page_token of a response before")
    return Cursor(int(found[1]), int(found[2]))
