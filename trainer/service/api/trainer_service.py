"""The gRPC service of clients: each method unpacks a request and packs the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, closing
from dataclasses import asdict

import grpc

from sumgrad.trainer.service.access.caller import current_caller
from sumgrad.trainer.service.api.page import fitting
from sumgrad.trainer.service.api.request_limits import (
    InvalidRequestError,
    check_heartbeat,
    check_sources,
)
from sumgrad.trainer.service.api.run_filter import parse_cursor, parse_filter
from sumgrad.trainer.service.calls.limiter import Limiter
from sumgrad.trainer.service.outputs import run_weights
from sumgrad.trainer.service.outputs.points import curves, parse_points_request
from sumgrad.trainer.service.outputs.predictor import Predictor
from sumgrad.trainer.service.runs import deletion, transitions
from sumgrad.trainer.service.runs.runs import Runs
from sumgrad.trainer.service.runs.stored_run import StoredRun
from sumgrad.trainer.service.runs.submission import Submission
from sumgrad.trainer.service.runs.watching import Heartbeat
from sumgrad.trainer.spec.allowed_locations import SpecRoots
from sumgrad.trainer.spec.violations import InvalidSpecError
from sumgrad.trainer.v1 import run_pb2, service_pb2, service_pb2_grpc

DEFAULT_PAGE = 100
MAX_PAGE = 1000
"""Runs in one answer."""

MAX_VIOLATIONS = 1000
"""Mistakes of a specification in one answer."""

MAX_DOWNLOADS = 4
"""Downloads of weights at a time: a snapshot is in memory while it is sent."""


class TrainerService(service_pb2_grpc.TrainerServiceServicer):
    """What clients call. Errors are raised, and answered by ``calls/errors_to_status.py``.

    Args:
        roots: where the paths of specifications may lead.
    """

    def __init__(
        self, runs: Runs, submission: Submission, predictor: Predictor, roots: SpecRoots
    ) -> None:
        self._runs = runs
        self._submission = submission
        self._predictor = predictor
        self._roots = roots
        self._downloads = Limiter(MAX_DOWNLOADS, "downloads of weights")

    async def SubmitRun(  # noqa: N802
        self, request: service_pb2.SubmitRunRequest, _context: grpc.aio.ServicerContext
    ) -> service_pb2.SubmitRunResponse:
        run = await self._submission.submit(
            request.spec,
            request.request_id,
            request.labels,
            request.priority,
            caller=current_caller(),
        )
        return service_pb2.SubmitRunResponse(run=run)

    async def ValidateSpec(  # noqa: N802
        self, request: service_pb2.ValidateSpecRequest, _context: grpc.aio.ServicerContext
    ) -> service_pb2.ValidateSpecResponse:
        try:
            return service_pb2.ValidateSpecResponse(plan=await self._submission.plan(request.spec))
        except InvalidSpecError as error:
            shown = error.violations[:MAX_VIOLATIONS]
            found = [service_pb2.FieldViolation(**asdict(violation)) for violation in shown]
            return service_pb2.ValidateSpecResponse(violations=found)

    async def GetRun(  # noqa: N802
        self, request: service_pb2.GetRunRequest, _context: grpc.aio.ServicerContext
    ) -> service_pb2.GetRunResponse:
        return service_pb2.GetRunResponse(run=await self._runs.view(request.id))

    async def ListRuns(  # noqa: N802
        self, request: service_pb2.ListRunsRequest, _context: grpc.aio.ServicerContext
    ) -> service_pb2.ListRunsResponse:
        size = min(request.page_size or DEFAULT_PAGE, MAX_PAGE)
        if size < 0:
            raise InvalidRequestError("page_size", f"must be ≥ 0, got {size}")
        wanted = parse_filter(request, current_caller().owner)
        after = parse_cursor(request.page_token)
        page = await self._runs.page(after, size + 1, wanted)
        count = fitting(stored.run for stored in page[:size])
        response = service_pb2.ListRunsResponse(runs=[stored.run for stored in page[:count]])
        if len(page) > count:
            response.next_page_token = str(page[count - 1].cursor)
        return response

    async def CancelRun(  # noqa: N802
        self, request: service_pb2.CancelRunRequest, _context: grpc.aio.ServicerContext
    ) -> service_pb2.CancelRunResponse:
        changed = await self._runs.change(request.id, transitions.cancel, self._runs.me)
        return service_pb2.CancelRunResponse(run=changed.stored.run)

    async def PauseRun(  # noqa: N802
        self, request: service_pb2.PauseRunRequest, _context: grpc.aio.ServicerContext
    ) -> service_pb2.PauseRunResponse:
        changed = await self._runs.change(request.id, transitions.pause, self._runs.me)
        return service_pb2.PauseRunResponse(run=changed.stored.run)

    async def ResumeRun(  # noqa: N802
        self, request: service_pb2.ResumeRunRequest, _context: grpc.aio.ServicerContext
    ) -> service_pb2.ResumeRunResponse:
        changed = await self._runs.change(request.id, transitions.resume, self._runs.me)
        return service_pb2.ResumeRunResponse(run=changed.stored.run)

    async def ScaleRun(  # noqa: N802
        self, request: service_pb2.ScaleRunRequest, _context: grpc.aio.ServicerContext
    ) -> service_pb2.ScaleRunResponse:
        run = await self._submission.scale(request.id, request.workers)
        return service_pb2.ScaleRunResponse(run=run)

    async def DeleteRun(  # noqa: N802
        self, request: service_pb2.DeleteRunRequest, _context: grpc.aio.ServicerContext
    ) -> service_pb2.DeleteRunResponse:
        await deletion.delete(self._runs, request.id)
        return service_pb2.DeleteRunResponse()

    async def WatchRun(  # noqa: N802
        self, request: service_pb2.WatchRunRequest, _context: grpc.aio.ServicerContext
    ) -> AsyncIterator[service_pb2.WatchRunResponse]:
        after = request.after_sequence if request.HasField("after_sequence") else None
        heartbeat = check_heartbeat(request.heartbeat_seconds)
        async with aclosing(self._runs.watching.watch(request.id, after, heartbeat)) as items:
            async for item in items:
                yield _watched(item)

    async def ListEvents(  # noqa: N802
        self, request: service_pb2.ListEventsRequest, _context: grpc.aio.ServicerContext
    ) -> service_pb2.ListEventsResponse:
        events = await self._runs.events(request.id, request.after)
        return service_pb2.ListEventsResponse(events=events[: fitting(events)])

    async def ListPoints(  # noqa: N802
        self, request: service_pb2.ListPointsRequest, _context: grpc.aio.ServicerContext
    ) -> service_pb2.ListPointsResponse:
        series, most = parse_points_request(request)
        found = await curves(lambda after: self._runs.events(request.id, after), series, most)
        return service_pb2.ListPointsResponse(curves=found)

    async def StreamLogs(  # noqa: N802
        self, request: service_pb2.StreamLogsRequest, _context: grpc.aio.ServicerContext
    ) -> AsyncIterator[service_pb2.StreamLogsResponse]:
        check_sources(request.sources)
        heartbeat = check_heartbeat(request.heartbeat_seconds)
        await self._runs.get(request.id)
        stream = self._runs.logs.stream(
            request.id,
            request.after,
            request.follow,
            set(request.sources),
            lambda: self._runs.view(request.id),
            heartbeat,
        )
        async with aclosing(stream):
            async for response in stream:
                yield response

    async def DownloadWeights(  # noqa: N802
        self, request: service_pb2.DownloadWeightsRequest, _context: grpc.aio.ServicerContext
    ) -> AsyncIterator[service_pb2.DownloadWeightsResponse]:
        step = request.step if request.HasField("step") else None
        run = await self._runs.view(request.id)
        with self._downloads.one():
            folder = self._runs.directory(run.id)
            place = await asyncio.to_thread(
                run_weights.find, run, folder, step, self._roots.snapshots
            )
            with closing(run_weights.download(place)) as responses:
                while (response := await asyncio.to_thread(next, responses, None)) is not None:
                    yield response

    async def Predict(  # noqa: N802
        self, request: service_pb2.PredictRequest, _context: grpc.aio.ServicerContext
    ) -> service_pb2.PredictResponse:
        step = request.step if request.HasField("step") else None
        run = await self._runs.view(request.id)
        folder = self._runs.directory(run.id)
        return await self._predictor.predict(run, folder, step, request.rows)


def _watched(
    item: StoredRun | run_pb2.Event | run_pb2.QueueStatus | Heartbeat,
) -> service_pb2.WatchRunResponse:
    match item:
        case StoredRun():
            snapshot = service_pb2.Snapshot(run=item.run, sequence=item.sequence)
            return service_pb2.WatchRunResponse(snapshot=snapshot)
        case Heartbeat(sequence):
            return service_pb2.WatchRunResponse(heartbeat=service_pb2.Heartbeat(sequence=sequence))
        case run_pb2.QueueStatus():
            return service_pb2.WatchRunResponse(queue_status=item)
        case _:
            return service_pb2.WatchRunResponse(event=item)
