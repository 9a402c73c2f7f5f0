"""The curves of a run, from its events."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Awaitable, Callable, Iterable, Sequence

import numpy as np

from sumgrad.trainer.service.api.request_limits import InvalidRequestError
from sumgrad.trainer.service.outputs.thinning import thin
from sumgrad.trainer.v1 import run_pb2, service_pb2

DEFAULT_POINTS = 1000
MAX_POINTS = 10_000

SERIES = tuple(service_pb2.Series.values()[1:])


def parse_points_request(
    request: service_pb2.ListPointsRequest,
) -> tuple[tuple[service_pb2.Series, ...], int]:
    """The series that a request asks for, and the most points of each.

    Raises:
        InvalidRequestError
    """
    for series in request.series:
        if series not in SERIES:
            raise InvalidRequestError("series", f"has no series of number {series}")
    most = request.max_points or DEFAULT_POINTS
    if not 2 <= most <= MAX_POINTS:
        raise InvalidRequestError("max_points", f"must be from 2 to {MAX_POINTS}, got {most}")
    return tuple(s for s in SERIES if s in request.series or not request.series), most


async def curves(
    read: Callable[[int], Awaitable[Sequence[run_pb2.Event]]],
    series: Iterable[service_pb2.Series],
    most: int,
) -> list[service_pb2.Curve]:
    """The curves that have points, each thinned out to at most so many.

    Args:
        read: the next events after a sequence number; empty when there are no more.
    """
    points, after = Points(), 0
    while events := await read(after):
        points.add(events)
        after = events[-1].sequence
    found = await asyncio.to_thread(lambda: [points.curve(each, most) for each in series])
    return [curve for curve in found if curve.total]


class Points:
    """The points of every series so far, by ascending steps."""

    def __init__(self) -> None:
        self._steps = {series: array("Q") for series in SERIES}
        self._values = {series: array("d") for series in SERIES}

    def add(self, events: Iterable[run_pb2.Event]) -> None:
        """Add events that follow those so far, in their order."""
        for event in events:
            match event.WhichOneof("kind"):
                case "progress":
                    self._add_progress(event.progress)
                case "epoch":
                    self._add_epoch(event.epoch)

    def _add_progress(self, progress: run_pb2.Progress) -> None:
        step = progress.step
        self._put(service_pb2.SERIES_E_IN, step, progress.e_in)
        self._put(service_pb2.SERIES_SAMPLES_PER_SECOND, step, progress.samples_per_second)
        if metric := progress.WhichOneof("metric"):
            self._put(service_pb2.SERIES_METRIC_IN, step, getattr(progress, metric))

    def _add_epoch(self, epoch: run_pb2.Epoch) -> None:
        self._put(service_pb2.SERIES_E_OUT, epoch.step, epoch.e_out)
        if metric := epoch.WhichOneof("metric"):
            self._put(service_pb2.SERIES_METRIC_OUT, epoch.step, getattr(epoch, metric))

    def _put(self, series: service_pb2.Series, step: int, value: float) -> None:
        """Add a point. It replaces those of the same and later steps, which were computed again."""
        steps, values = self._steps[series], self._values[series]
        while steps and steps[-1] >= step:
            steps.pop()
            values.pop()
        steps.append(step)
        values.append(value)

    def curve(self, series: service_pb2.Series, most: int) -> service_pb2.Curve:
        """One curve, thinned out to at most so many points."""
        steps = np.array(self._steps[series], np.uint64)
        values = np.array(self._values[series], np.float64)
        kept = thin(steps.astype(np.float64), values, most)
        return service_pb2.Curve(
            series=series, steps=steps[kept], values=values[kept], total=len(steps)
        )
