"""The gRPC services: requests in, the run manager's answers out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NoReturn

import grpc
from google.rpc import error_details_pb2, status_pb2
from google.rpc.code_pb2 import INVALID_ARGUMENT
from grpc_status import rpc_status

from trainer.service import queue
from trainer.service.run_manager import (
    NotPausedError,
    NotTheRunnerError,
    RunElsewhereError,
    RunEndedError,
    RunManager,
    RunNotFoundError,
    WorkersError,
)
from trainer.service.store import StoredRun
from trainer.spec.violations import InvalidSpecError
from trainer.v1 import runner_pb2, runner_pb2_grpc, service_pb2, service_pb2_grpc

DEFAULT_PAGE = 100
LARGEST_PAGE = 1000
SHOWN_VIOLATIONS = 100

CODES: dict[type[Exception], grpc.StatusCode] = {
    InvalidSpecError: grpc.StatusCode.INVALID_ARGUMENT,
    RunNotFoundError: grpc.StatusCode.NOT_FOUND,
    RunEndedError: grpc.StatusCode.FAILED_PRECONDITION,
    RunElsewhereError: grpc.StatusCode.FAILED_PRECONDITION,
    NotPausedError: grpc.StatusCode.FAILED_PRECONDITION,
    WorkersError: grpc.StatusCode.INVALID_ARGUMENT,
    NotTheRunnerError: grpc.StatusCode.PERMISSION_DENIED,
}
"""What each error of the domain is called in gRPC."""

DOMAIN_ERRORS = tuple(CODES)


class TrainerService(service_pb2_grpc.TrainerServiceServicer):
    """What clients call."""

    def __init__(self, manager: RunManager) -> None:
        self._manager = manager

    async def SubmitRun(  # noqa: N802
        self, request: service_pb2.SubmitRunRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.SubmitRunResponse:
        try:
            return service_pb2.SubmitRunResponse(run=await self._manager.submit(request.spec))
        except DOMAIN_ERRORS as error:
            await refuse(context, error)

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
        token = request.page_token
        if request.page_size < 0 or not (token.isascii() and (not token or token.isdecimal())):
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                "page_size must be ≥ 0 and page_token the next_page_token of the response before",
            )
        size = min(request.page_size or DEFAULT_PAGE, LARGEST_PAGE)
        before = int(token[:18]) if token else None
        page = await self._manager.page(before, size + 1)
        response = service_pb2.ListRunsResponse(runs=[stored.run for stored in page[:size]])
        if len(page) > size:
            response.next_page_token = str(page[size - 1].number)
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


class RunnerService(runner_pb2_grpc.RunnerServiceServicer):
    """What runners call."""

    def __init__(self, manager: RunManager, cores: int) -> None:
        self._manager = manager
        self._cores = cores

    async def TakeRun(  # noqa: N802
        self, request: runner_pb2.TakeRunRequest, context: grpc.aio.ServicerContext
    ) -> runner_pb2.TakeRunResponse:
        try:
            run = await self._manager.take(request.id, request.attempt, request.token)
        except DOMAIN_ERRORS as error:
            await refuse(context, error)
        return runner_pb2.TakeRunResponse(
            spec=run.spec,
            directory=str(self._manager.directory(run.id)),
            worker_cpus=queue.worker_cpus(self._cores),
            workers=run.workers,
        )

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
    """End the call with the error's code, and its details where it has any."""
    if isinstance(error, InvalidSpecError):
        await context.abort_with_status(rpc_status.to_status(_bad_request(error)))
    await context.abort(CODES[type(error)], str(error))
    raise AssertionError("abort raises")


def _bad_request(error: InvalidSpecError) -> status_pb2.Status:
    """One field violation for every mistake; the message names the first."""
    details = error_details_pb2.BadRequest()
    for violation in error.violations[:SHOWN_VIOLATIONS]:
        details.field_violations.add(field=violation.field, description=violation.description)
    more = len(error.violations) - 1
    message = str(error.violations[0]) + (f" (and {more} more)" if more else "")
    status = status_pb2.Status(code=INVALID_ARGUMENT, message=message)
    status.details.add().Pack(details)
    return status
