"""The client's arguments as messages, and the answers in Python."""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sumgrad.trainer.record.enum_names import SERIES, series_name
from sumgrad.trainer.spec.toml import override, read_toml
from sumgrad.trainer.spec.violations import InvalidSpecError
from sumgrad.trainer.v1 import run_pb2, service_pb2

MAX_PAGE = 1000

Spec = str | Path | dict[str, Any]


class Point(NamedTuple):
    """One point of a curve."""

    step: int
    value: float


Curves = dict[str, list[Point]]
"""By the names of their series."""


def submission(
    spec: dict[str, Any],
    request_id: str | None,
    labels: Mapping[str, str] | None,
    priority: int,
) -> service_pb2.SubmitRunRequest:
    """Raises InvalidSpecError with every mistake that shows without the data."""
    return service_pb2.SubmitRunRequest(
        spec=_checked(spec),
        request_id=uuid.uuid4().hex if request_id is None else request_id,
        labels=labels,
        priority=priority,
    )


def validation(spec: dict[str, Any]) -> service_pb2.ValidateSpecRequest:
    """Raises InvalidSpecError."""
    return service_pb2.ValidateSpecRequest(spec=_checked(spec))


def _checked(document: dict[str, Any]) -> run_pb2.RunSpec:
    """Raises InvalidSpecError."""
    # Here, because importing them takes half a second, and most calls have no specification.
    from sumgrad.trainer.spec.messages import to_message
    from sumgrad.trainer.spec.parse import parse

    return to_message(parse(document))


def invalid(error: InvalidSpecError) -> service_pb2.ValidateSpecResponse:
    """What the service would answer to a specification that has these mistakes."""
    return service_pb2.ValidateSpecResponse(
        violations=[
            service_pb2.FieldViolation(field=found.field, description=found.description)
            for found in error.violations
        ]
    )


def listing(
    states: Collection[run_pb2.RunState],
    name: str,
    labels: Mapping[str, str] | None,
    oldest_first: bool,
    id_prefix: str,
) -> service_pb2.ListRunsRequest:
    return service_pb2.ListRunsRequest(
        states=states,
        name=name,
        labels=labels,
        order_by="created asc" if oldest_first else "created desc",
        id_prefix=id_prefix,
    )


def curves(run_id: str, series: Collection[str], max_points: int) -> service_pb2.ListPointsRequest:
    """Raises ValueError: there is no series of a name."""
    return service_pb2.ListPointsRequest(
        id=run_id, series=[_series(name) for name in series], max_points=max_points
    )


def _series(name: str) -> service_pb2.Series:
    if name not in SERIES:
        raise ValueError(f"there is no series {name!r}; there are {', '.join(SERIES)}")
    return SERIES[name]


def state(response: service_pb2.WatchRunResponse) -> run_pb2.RunState:
    """In which the run is after this message; 0 if the message does not change it."""
    return response.snapshot.run.state or response.event.state_change.state


def points(response: service_pb2.ListPointsResponse) -> Curves:
    """The curves by their names."""
    return {
        series_name(curve.series): list(map(Point, curve.steps, curve.values))
        for curve in response.curves
    }


def read_spec(
    spec: str | Path | dict[str, Any],
    workers: int | None = None,
    settings: tuple[str, ...] = (),
    start_from: str | Path | None = None,
) -> dict[str, Any]:
    """The document of a specification with its overrides, as ``Client.submit`` has them.

    Raises:
        InvalidSpecError: the file cannot be read, or an override has no place.
    """
    document = copy.deepcopy(spec) if isinstance(spec, dict) else read_toml(Path(spec))
    for setting in settings:
        override(document, setting)
    if workers is not None:
        override(document, f"workers.count={workers}")
    if start_from is not None:
        # JSON's strings are TOML's.
        override(document, f"model.start_from={json.dumps(str(start_from), ensure_ascii=False)}")
    return document
