"""The gRPC services: requests in, the run manager's answers out."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import NoReturn

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from trainer.service.cluster import worker_cpus
from trainer.service.requests import InvalidRequestError
from trainer.service.run_filter import parse_cursor, parse_filter
from trainer.service.run_manager import (
    NotPausedError,
    NotTheRunnerError,
    RunElsewhereError,
    RunEndedError,
    RunFilesError,
    RunManager,
    RunNotFoundError,
    WorkersError,
)
from trainer.service.store import RequestConflictError, RunNotEndedError, StoredRun
from trainer.service.store_errors import StoreUnavailableError
from trainer.service.weights_inbox import WeightsDamagedError, WeightsNotStoredError
from trainer.spec.violations import InvalidSpecError
from trainer.v1 import runner_pb2, runner_pb2_grpc, service_pb2, service_pb2_grpc

DEFAULT_PAGE = 100
LARGEST_PAGE = 1000
SHOWN_VIOLATIONS = 100

CODES: dict[type[Exception], grpc.StatusCode] = {
    InvalidSpecError: grpc.StatusCode.INVALID_ARGUMENT,
    InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    RequestConflictError: grpc.StatusCode.ALREADY_EXISTS,
    RunNotFoundError: grpc.StatusCode.NOT_FOUND,
    RunEndedError: grpc.StatusCode.FAILED_PRECONDITION,
    RunElsewhereError: grpc.StatusCode.FAILED_PRECONDITION,
    RunNotEndedError: grpc.StatusCode.FAILED_PRECONDITION,
    RunFilesError: grpc.StatusCode.FAILED_PRECONDITION,
    NotPausedError: grpc.StatusCode.FAILED_PRECONDITION,
    WorkersError: grpc.StatusCode.INVALID_ARGUMENT,
    NotTheRunnerError: grpc.StatusCode.PERMISSION_DENIED,
    StoreUnavailableError: grpc.StatusCode.UNAVAILABLE,
    WeightsDamagedError: grpc.StatusCode.DATA_LOSS,
    WeightsNotStoredError: grpc.StatusCode.UNAVAILABLE,
}
"""What each error of the domain is called in gRPC."""

DOMAIN_ERRORS = tuple(CODES)
DOMAIN = "sumgrad"


class TrainerService(service_pb2_grpc.TrainerServiceServicer):
    """What clients call."""

    def __init__(self, manager: RunManager) -> None:
        self._manager = manager

    async def SubmitRun(  # noqa: N802
        self, request: service_pb2.SubmitRunRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.SubmitRunResponse:
        try:
            run = await self._manager.submit(
                request.spec, request.request_id, request.labels, request.priority
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
            wanted, after = parse_filter(request), parse_cursor(request.page_token)
            page = await self._manager.page(after, size + 1, wanted)
        except DOMAIN_ERRORS as error:
            await refuse(context, error)
        response = service_pb2.ListRunsResponse(runs=[stored.run for stored in page[:size]])
        if len(page) > size:
            response.next_page_token = str(page[size - 1].cursor)
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
        try:
            async for item in self._manager.watch(request.id):
                if isinstance(item, StoredRun):
                    snapshot = service_pb2.Snapshot(run=item.run, sequence=item.sequence)
                    yield service_pb2.WatchRunResponse(snapshot=snapshot)
                else:
                    yield service_pb2.WatchRunResponse(event=item)
        except DOMAIN_ERRORS as error:
            await refuse(context, error)

    async def ListEvents(  # noqa: N802
        self, request: service_pb2.ListEventsRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.ListEventsResponse:
        try:
            events = await self._manager.events(request.id, request.after)
        except DOMAIN_ERRORS as error:
            await refuse(context, error)
        return service_pb2.ListEventsResponse(events=events)


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
            worker_cpus=worker_cpus(run.workers, self._manager.cpus),
            workers=run.workers,
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
                request.id, request.attempt, request.token, request.reports
            )
        except DOMAIN_ERRORS as error:
            await refuse(context, error)


async def refuse(context: grpc.aio.ServicerContext, error: Exception) -> NoReturn:
    """End the call with the error's code and details."""
    await context.abort_with_status(rpc_status.to_status(status_of(error)))
    raise AssertionError("abort raises")


def status_of(error: Exception) -> status_pb2.Status:
    """An error of the domain as gRPC tells it: an ErrorInfo, and field violations if it has any."""
    status = status_pb2.Status(code=CODES[type(error)].value[0], message=str(error))
    info = error_details_pb2.ErrorInfo(domain=DOMAIN, reason=_reason(error))
    for key, attribute in (("run", "run_id"), ("field", "field")):
        if hasattr(error, attribute):
            info.metadata[key] = getattr(error, attribute)
    if isinstance(error, InvalidSpecError):
        more = len(error.violations) - 1
        status.message = str(error.violations[0]) + (f" (and {more} more)" if more else "")
        status.details.add().Pack(_bad_request(error))
    status.details.add().Pack(info)
    return status


def _reason(error: Exception) -> str:
    """``RunNotFoundError`` as ``RUN_NOT_FOUND``."""
    name = type(error).__name__.removesuffix("Error")
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()


def _bad_request(error: InvalidSpecError) -> error_details_pb2.BadRequest:
    """One field violation for every mistake."""
    details = error_details_pb2.BadRequest()
    for violation in error.violations[:SHOWN_VIOLATIONS]:
        details.field_violations.add(field=violation.field, description=violation.description)
    return details
