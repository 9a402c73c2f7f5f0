"""The gRPC services: requests in, the run manager's answers out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import aclosing, closing
from dataclasses import asdict
from typing import NoReturn

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from sumgrad.trainer.service.access.authentication import NotAuthenticatedError
from sumgrad.trainer.service.access.caller import (
    NotAllowedError,
    PriorityNotAllowedError,
    current_caller,
)
from sumgrad.trainer.service.api.page import fitting
from sumgrad.trainer.service.api.request_limits import (
    InvalidRequestError,
    MalformedRequestError,
    check_heartbeat,
    check_sources,
)
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
from sumgrad.trainer.service.api.run_filter import parse_cursor, parse_filter
from sumgrad.trainer.service.calls.admission import Room, TooManyCallsError
from sumgrad.trainer.service.calls.slow_readers import SlowReaderError
from sumgrad.trainer.service.outputs import run_weights
from sumgrad.trainer.service.outputs.points import parse_points_request
from sumgrad.trainer.service.outputs.predictor import PredictionsBusyError, Predictor
from sumgrad.trainer.service.outputs.run_weights import NoWeightsError
from sumgrad.trainer.service.outputs.weights_inbox import WeightsDamagedError, WeightsNotStoredError
from sumgrad.trainer.service.queue import scheduling
from sumgrad.trainer.service.runs.run_manager import RunManager
from sumgrad.trainer.service.runs.stored_run import StoredRun
from sumgrad.trainer.service.runs.watching import Heartbeat
from sumgrad.trainer.service.store.run_store import RequestConflictError, RunNotEndedError
from sumgrad.trainer.service.store.store_errors import StoreUnavailableError
from sumgrad.trainer.spec.violations import InvalidSpecError
from sumgrad.trainer.v1 import run_pb2, runner_pb2, runner_pb2_grpc, service_pb2, service_pb2_grpc

DEFAULT_PAGE = 100
LARGEST_PAGE = 1000
LISTED_VIOLATIONS = 1000
"""In an answer."""

DOWNLOADS = 4
"""Downloads of weights at once; a snapshot that is sent is in memory."""

MESSAGE_BYTES = 600
VIOLATIONS_BYTES = 3500
"""A refusal travels in the trailers, of which clients accept 8 KiB: the message percent-encoded
(up to three bytes for each) and once more, with the violations, as base64."""

RUNNERS_CODES: dict[type[Exception], grpc.StatusCode] = {
    NotTheRunnerError: grpc.StatusCode.PERMISSION_DENIED,
    WeightsDamagedError: grpc.StatusCode.DATA_LOSS,
    WeightsNotStoredError: grpc.StatusCode.UNAVAILABLE,
}
"""Of what only runners are told."""

CODES: dict[type[Exception], grpc.StatusCode] = RUNNERS_CODES | {
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
"""What each error of the domain is called in gRPC."""

DOMAIN_ERRORS = tuple(CODES)
DOMAIN = "sumgrad"
METADATA = {"run": "run_id", "field": "field", "after_sequence": "after_sequence"}
"""Of an ErrorInfo, by the attributes of errors that have them."""


class TrainerService(service_pb2_grpc.TrainerServiceServicer):
    """What clients call."""

    def __init__(self, manager: RunManager) -> None:
        self._manager = manager
        self._predictor = Predictor(manager.roots)
        self._downloads = Room(DOWNLOADS, "downloads of weights")

    async def SubmitRun(  # noqa: N802
        self, request: service_pb2.SubmitRunRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.SubmitRunResponse:
        try:
            run = await self._manager.submit(
                request.spec,
                request.request_id,
                request.labels,
                request.priority,
                caller=current_caller(),
            )
        except DOMAIN_ERRORS as error:
            await refuse(context, error)
        return service_pb2.SubmitRunResponse(run=run)

    async def GetRun(  # noqa: N802
        self, request: service_pb2.GetRunRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.GetRunResponse:
        try:
            return service_pb2.GetRunResponse(run=await self._manager.get(request.id))
        except DOMAIN_ERRORS as error:
            await refuse(context, error)

    async def ListRuns(  # noqa: N802
        self, request: service_pb2.ListRunsRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.ListRunsResponse:
        size = min(request.page_size or DEFAULT_PAGE, LARGEST_PAGE)
        try:
            if size < 0:
                raise InvalidRequestError("page_size", f"must be ≥ 0, got {size}")
            wanted = parse_filter(request, current_caller().owner)
            after = parse_cursor(request.page_token)
            page = await self._manager.page(after, size + 1, wanted)
        except DOMAIN_ERRORS as error:
            await refuse(context, error)
        count = fitting(stored.run for stored in page[:size])
        response = service_pb2.ListRunsResponse(runs=[stored.run for stored in page[:count]])
        if len(page) > count:
            response.next_page_token = str(page[count - 1].cursor)
        return response

    async def CancelRun(  # noqa: N802
        self, request: service_pb2.CancelRunRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.CancelRunResponse:
        try:
            return service_pb2.CancelRunResponse(run=await self._manager.cancel(request.id))
        except DOMAIN_ERRORS as error:
            await refuse(context, error)

    async def PauseRun(  # noqa: N802
        self, request: service_pb2.PauseRunRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.PauseRunResponse:
        try:
            return service_pb2.PauseRunResponse(run=await self._manager.pause(request.id))
        except DOMAIN_ERRORS as error:
            await refuse(context, error)

    async def ResumeRun(  # noqa: N802
        self, request: service_pb2.ResumeRunRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.ResumeRunResponse:
        try:
            return service_pb2.ResumeRunResponse(run=await self._manager.resume(request.id))
        except DOMAIN_ERRORS as error:
            await refuse(context, error)

    async def ScaleRun(  # noqa: N802
        self, request: service_pb2.ScaleRunRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.ScaleRunResponse:
        try:
            run = await self._manager.scale(request.id, request.workers)
        except DOMAIN_ERRORS as error:
            await refuse(context, error)
        return service_pb2.ScaleRunResponse(run=run)

    async def DeleteRun(  # noqa: N802
        self, request: service_pb2.DeleteRunRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.DeleteRunResponse:
        try:
            await self._manager.delete(request.id)
        except DOMAIN_ERRORS as error:
            await refuse(context, error)
        return service_pb2.DeleteRunResponse()

    async def WatchRun(  # noqa: N802
        self, request: service_pb2.WatchRunRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[service_pb2.WatchRunResponse]:
        after = request.after_sequence if request.HasField("after_sequence") else None
        try:
            heartbeat = check_heartbeat(request.heartbeat_seconds)
            async with aclosing(self._manager.watch(request.id, after, heartbeat)) as items:
                async for item in items:
                    yield _watched(item)
        except DOMAIN_ERRORS as error:
            await refuse(context, error)

    async def ListEvents(  # noqa: N802
        self, request: service_pb2.ListEventsRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.ListEventsResponse:
        try:
            events = await self._manager.events(request.id, request.after)
        except DOMAIN_ERRORS as error:
            await refuse(context, error)
        return service_pb2.ListEventsResponse(events=events[: fitting(events)])

    async def ListPoints(  # noqa: N802
        self, request: service_pb2.ListPointsRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.ListPointsResponse:
        try:
            series, most = parse_points_request(request)
            curves = await self._manager.curves(request.id, series, most)
        except DOMAIN_ERRORS as error:
            await refuse(context, error)
        return service_pb2.ListPointsResponse(curves=curves)

    async def ValidateSpec(  # noqa: N802
        self, request: service_pb2.ValidateSpecRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.ValidateSpecResponse:
        try:
            return service_pb2.ValidateSpecResponse(plan=await self._manager.plan(request.spec))
        except InvalidSpecError as error:
            shown = error.violations[:LISTED_VIOLATIONS]
            found = [service_pb2.FieldViolation(**asdict(violation)) for violation in shown]
            return service_pb2.ValidateSpecResponse(violations=found)
        except DOMAIN_ERRORS as error:
            await refuse(context, error)

    async def StreamLogs(  # noqa: N802
        self, request: service_pb2.StreamLogsRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[service_pb2.StreamLogsResponse]:
        try:
            check_sources(request.sources)
            heartbeat = check_heartbeat(request.heartbeat_seconds)
            await self._manager.get(request.id)
            stream = self._manager.logs.stream(
                request.id,
                request.after,
                request.follow,
                set(request.sources),
                lambda: self._manager.get(request.id),
                heartbeat,
            )
            async with aclosing(stream):
                async for response in stream:
                    yield response
        except DOMAIN_ERRORS as error:
            await refuse(context, error)

    async def DownloadWeights(  # noqa: N802
        self, request: service_pb2.DownloadWeightsRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[service_pb2.DownloadWeightsResponse]:
        step = request.step if request.HasField("step") else None
        try:
            run = await self._manager.get(request.id)
            with self._downloads.inside():
                folder = self._manager.directory(run.id)
                place = await asyncio.to_thread(
                    run_weights.find, run, folder, step, self._manager.roots.snapshots
                )
                with closing(run_weights.download(place)) as responses:
                    while (response := await asyncio.to_thread(next, responses, None)) is not None:
                        yield response
        except DOMAIN_ERRORS as error:
            await refuse(context, error)

    async def Predict(  # noqa: N802
        self, request: service_pb2.PredictRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.PredictResponse:
        step = request.step if request.HasField("step") else None
        try:
            run = await self._manager.get(request.id)
            folder = self._manager.directory(run.id)
            return await self._predictor.predict(run, folder, step, request.rows)
        except DOMAIN_ERRORS as error:
            await refuse(context, error)

    def close(self) -> None:
        self._predictor.close()


class RunnerService(runner_pb2_grpc.RunnerServiceServicer):
    """What runners call."""

    def __init__(self, manager: RunManager) -> None:
        self._manager = manager

    async def TakeRun(  # noqa: N802
        self, request: runner_pb2.TakeRunRequest, context: grpc.aio.ServicerContext
    ) -> runner_pb2.TakeRunResponse:
        try:
            run = await self._manager.take(request.id, request.attempt, request.token)
        except DOMAIN_ERRORS as error:
            await refuse(context, error)
        directory = self._manager.directory(run.id)
        return runner_pb2.TakeRunResponse(
            spec=run.spec,
            directory=str(directory),
            directory_inode=directory.stat().st_ino,
            worker_cpus=scheduling.worker_cpus(self._manager.cores),
            workers=run.workers,
            roots=self._manager.roots.message(),
        )

    async def PutWeights(  # noqa: N802
        self,
        requests: AsyncIterator[runner_pb2.PutWeightsRequest],
        context: grpc.aio.ServicerContext,
    ) -> runner_pb2.PutWeightsResponse:
        try:
            first = await anext(requests, runner_pb2.PutWeightsRequest())
            chunks = (request.chunk async for request in requests)
            path = await self._manager.put_weights(first.file, chunks)
        except DOMAIN_ERRORS as error:
            await refuse(context, error)
        return runner_pb2.PutWeightsResponse(path=str(path))

    async def Report(  # noqa: N802
        self, request: runner_pb2.ReportRequest, context: grpc.aio.ServicerContext
    ) -> runner_pb2.ReportResponse:
        try:
            return await self._manager.report(
                request.id, request.attempt, request.token, request.reports, request.log
            )
        except DOMAIN_ERRORS as error:
            await refuse(context, error)


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


async def refuse(context: grpc.aio.ServicerContext, error: Exception) -> NoReturn:
    """End the call with the error's code and details."""
    await context.abort_with_status(rpc_status.to_status(status_of(error)))
    raise AssertionError("abort raises")


def status_of(error: Exception) -> status_pb2.Status:
    """An error of the domain as gRPC tells it: an ErrorInfo, and field violations if it has any."""
    status = status_pb2.Status(code=CODES[type(error)].value[0], message=_cut(str(error)))
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
    """A field violation for every mistake, as many as there is room for."""
    details = error_details_pb2.BadRequest()
    room = VIOLATIONS_BYTES
    for violation in error.violations:
        field, description = violation.field, _cut(violation.description)
        room -= len(field.encode()) + len(description.encode()) + 8
        if room < 0:
            break
        details.field_violations.add(field=field, description=description)
    return details


def _cut(text: str) -> str:
    """The text in at most MESSAGE_BYTES of UTF-8."""
    content = text.encode()
    if len(content) <= MESSAGE_BYTES:
        return text
    return content[: MESSAGE_BYTES - 3].decode(errors="ignore") + "..."
