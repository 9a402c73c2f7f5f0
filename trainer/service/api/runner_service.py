"""The gRPC service of runners: each method unpacks a request and packs the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc

from sumgrad.trainer.service.queue import scheduling
from sumgrad.trainer.service.runs.runner_calls import RunnerCalls
from sumgrad.trainer.service.runs.runs import Runs
from sumgrad.trainer.spec.allowed_locations import SpecRoots
from sumgrad.trainer.v1 import runner_pb2, runner_pb2_grpc


class RunnerService(runner_pb2_grpc.RunnerServiceServicer):
    """What runners call. Errors are raised, and answered by ``calls/errors_to_status.py``.

    Args:
        roots: where the paths of specifications may lead.
    """

    def __init__(self, runs: Runs, calls: RunnerCalls, roots: SpecRoots) -> None:
        self._runs = runs
        self._calls = calls
        self._roots = roots

    async def TakeRun(  # noqa: N802
        self, request: runner_pb2.TakeRunRequest, _context: grpc.aio.ServicerContext
    ) -> runner_pb2.TakeRunResponse:
        run = await self._calls.take(request.id, request.attempt, request.token)
        directory = self._runs.directory(run.id)
        return runner_pb2.TakeRunResponse(
            spec=run.spec,
            directory=str(directory),
            directory_inode=directory.stat().st_ino,
            worker_cpus=scheduling.worker_cpus(self._runs.queue.cores),
            workers=run.workers,
            roots=self._roots.message(),
        )

    async def PutWeights(  # noqa: N802
        self,
        requests: AsyncIterator[runner_pb2.PutWeightsRequest],
        _context: grpc.aio.ServicerContext,
    ) -> runner_pb2.PutWeightsResponse:
        first = await anext(requests, runner_pb2.PutWeightsRequest())
        chunks = (request.chunk async for request in requests)
        path = await self._calls.put_weights(first.file, chunks)
        return runner_pb2.PutWeightsResponse(path=str(path))

    async def Report(  # noqa: N802
        self, request: runner_pb2.ReportRequest, _context: grpc.aio.ServicerContext
    ) -> runner_pb2.ReportResponse:
        return await self._calls.report(
            request.id, request.attempt, request.token, request.reports, request.log
        )
