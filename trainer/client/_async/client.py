"""The client for programs on an event loop."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import load

from sumgrad.trainer.client import connection, prediction, requests
from sumgrad.trainer.client._async.run import AsyncRunHandle
from sumgrad.trainer.client.base_client import BaseClient
from sumgrad.trainer.client.connection import Connection
from sumgrad.trainer.client.errors import BusyError, ClientError, UnreachableError, typed
from sumgrad.trainer.client.prediction import Prediction
from sumgrad.trainer.client.requests import Curves, Spec, read_spec
from sumgrad.trainer.client.streams import retry
from sumgrad.trainer.client.streams.awaited_stream import AwaitedStream
from sumgrad.trainer.client.streams.deadline import UNBOUNDED, Deadline
from sumgrad.trainer.client.streams.log_reading import LogReading
from sumgrad.trainer.client.streams.watch_cursor import WatchCursor
from sumgrad.trainer.client.weights_download import WeightsDownload
from sumgrad.trainer.durable_file import durable_file_on_loop
from sumgrad.trainer.record import states
from sumgrad.trainer.spec.violations import InvalidSpecError
from sumgrad.trainer.v1 import run_pb2, service_pb2

T = TypeVar("T")


class AsyncClient(BaseClient):
    """Calls to one service; an asynchronous context manager, for one event loop.

    Every call raises UnreachableError if no service answers at the address, and another
    ClientError for what else the service refuses.
    """

    def _open(self, connection: Connection) -> grpc.aio.Channel:
        return connection.aio_channel()

    async def reachable(self) -> bool:
        """Whether a service answers at the address within a second."""
        health = health_pb2_grpc.HealthStub(self._channel)
        request = health_pb2.HealthCheckRequest(service="sumgrad.trainer.v1.TrainerService")
        try:
            answer = await health.Check(request, timeout=connection.REACHABLE_SECONDS)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def submit(
        self,
        spec: Spec,
        *,
        workers: int | None = None,
        set: tuple[str, ...] = (),
        start_from: str | Path | None = None,
        request_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
    ) -> AsyncRunHandle:
        """Submit a run, once: where no answer comes, the same submission is sent again.

        Args:
            spec: a TOML file, or its content as a dictionary.
            workers: instead of the specification's ``workers.count``.
            set: overrides like ``train.batch_size=64``.
            start_from: checkpoint, instead of the specification's ``model.start_from``.
            request_id: the same one with the same submission gives the same run, whoever sends it
                and whenever; a new one unless it is given.
            labels: what the run can be found by.
            priority: a higher one starts first; within 32 bits, and what the caller may ask for.

        Raises:
            InvalidSpecError: with every mistake that was found; nothing is launched.
            RequestConflictError: the request id was used for something else.
        """
        document = read_spec(spec, workers, set, start_from)
        request = requests.submission(document, request_id, labels, priority)
        response: service_pb2.SubmitRunResponse = await self._call(self._stub.SubmitRun, request)
        return AsyncRunHandle(self, response.run)

    async def validate(
        self,
        spec: Spec,
        *,
        workers: int | None = None,
        set: tuple[str, ...] = (),
        start_from: str | Path | None = None,
    ) -> service_pb2.ValidateSpecResponse:
        """What ``submit`` would say, and how much the run would do; nothing is stored."""
        try:
            request = requests.validation(read_spec(spec, workers, set, start_from))
        except InvalidSpecError as error:
            return requests.invalid(error)
        response: service_pb2.ValidateSpecResponse = await self._call(
            self._stub.ValidateSpec, request
        )
        return response

    async def run(self, run_id: str) -> AsyncRunHandle:
        """A run that was submitted before. Raises NotFoundError."""
        return AsyncRunHandle(self, await self.get(run_id))

    async def get(self, run_id: str) -> run_pb2.Run:
        """The run as it is. Raises NotFoundError."""
        request = service_pb2.GetRunRequest(id=run_id)
        response: service_pb2.GetRunResponse = await self._call(self._stub.GetRun, request)
        return response.run

    async def list(
        self,
        limit: int = 100,
        *,
        states: Collection[run_pb2.RunState] = (),
        name: str = "",
        labels: Mapping[str, str] | None = None,
        oldest_first: bool = False,
        id_prefix: str = "",
    ) -> list[run_pb2.Run]:
        """The newest runs, newest first, or the oldest.

        Args:
            states: those in one of these, if there are any.
            name: those of this name, or with a ``*`` at its end, whose name begins so.
            labels: those that have all of these.
            id_prefix: those whose id begins so.
        """
        runs: list[run_pb2.Run] = []
        request = requests.listing(states, name, labels, oldest_first, id_prefix)
        while len(runs) < limit:
            request.page_size = min(limit - len(runs), requests.MAX_PAGE)
            page: service_pb2.ListRunsResponse = await self._call(self._stub.ListRuns, request)
            runs += page.runs
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        return runs

    async def cancel(self, run_id: str) -> run_pb2.Run:
        """Have a run stopped. Raises NotFoundError, EndedError."""
        request = service_pb2.CancelRunRequest(id=run_id)
        response: service_pb2.CancelRunResponse = await self._call(self._stub.CancelRun, request)
        return response.run

    async def delete(self, run_id: str) -> None:
        """Forget a run that has ended, and its files. Raises NotFoundError, NotEndedError."""
        await self._call(self._stub.DeleteRun, service_pb2.DeleteRunRequest(id=run_id))

    async def pause(self, run_id: str) -> run_pb2.Run:
        """Have a run stop at a snapshot. Raises NotFoundError, EndedError."""
        request = service_pb2.PauseRunRequest(id=run_id)
        response: service_pb2.PauseRunResponse = await self._call(self._stub.PauseRun, request)
        return response.run

    async def resume(self, run_id: str) -> run_pb2.Run:
        """Have a paused run go on. Raises NotFoundError, EndedError, NotPausedError."""
        request = service_pb2.ResumeRunRequest(id=run_id)
        response: service_pb2.ResumeRunResponse = await self._call(self._stub.ResumeRun, request)
        return response.run

    async def scale(self, run_id: str, workers: int) -> run_pb2.Run:
        """Give a run another number of workers. Raises NotFoundError, EndedError, WorkersError."""
        request = service_pb2.ScaleRunRequest(id=run_id, workers=workers)
        response: service_pb2.ScaleRunResponse = await self._call(self._stub.ScaleRun, request)
        return response.run

    async def wait(
        self,
        run_id: str,
        timeout: float | None = None,
        states: Collection[run_pb2.RunState] = states.ENDED,
    ) -> run_pb2.Run:
        """The run when it is in one of the states, or has ended.

        Raises:
            NotFoundError, WaitTimeoutError
        """
        async with aclosing(self.watch(run_id, timeout=timeout)) as responses:
            async for response in responses:
                if requests.state(response) in states:
                    break
        return await self.get(run_id)

    async def watch(
        self, run_id: str, *, after: int | None = None, timeout: float | None = None
    ) -> AsyncGenerator[service_pb2.WatchRunResponse, None]:
        """A snapshot of the run, then every event in order, each once, until the run has ended.

        A connection that breaks is made again, also to a service that was restarted, and the
        stream goes on where it was. It ends with an error only when the service stays away for
        two minutes.

        Args:
            after: a sequence number; every event that follows it, and no snapshot.
            timeout: seconds for all of it.

        Raises:
            NotFoundError, CursorExpiredError, WaitTimeoutError
        """
        cursor, deadline = WatchCursor(run_id, after), Deadline(timeout)
        while True:
            try:
                stream = self._stream(self._stub.WatchRun, cursor.request(), deadline)
                async with aclosing(stream) as responses:
                    async for response in responses:
                        if cursor.takes(response):
                            yield response
                return
            except ClientError as error:
                await asyncio.sleep(deadline.bounded(cursor.seconds(error)))

    async def events(self, run_id: str) -> AsyncGenerator[run_pb2.Event, None]:
        """What has happened to a run so far, oldest first. Raises NotFoundError."""
        request = service_pb2.ListEventsRequest(id=run_id)
        while True:
            page: service_pb2.ListEventsResponse = await self._call(self._stub.ListEvents, request)
            if not page.events:
                return
            for event in page.events:
                yield event
            request.after = page.events[-1].sequence

    async def points(self, run_id: str, *series: str, max_points: int = 0) -> Curves:
        """The curves of a run so far, by the names of their series.

        Args:
            series: those that are wanted; all if there are none: ``e_in``, ``metric_in`` and
                ``samples_per_second`` while an epoch goes on, ``e_out`` and ``metric_out`` after
                each epoch.
            max_points: of each curve, 1,000 unless it is given.

        Raises:
            NotFoundError, InvalidRequestError
            ValueError: there is no such series.
        """
        request = requests.curves(run_id, series, max_points)
        response: service_pb2.ListPointsResponse = await self._call(self._stub.ListPoints, request)
        return requests.points(response)

    async def logs(
        self, run_id: str, *, follow: bool = False, after: int = 0, sources: Collection[str] = ()
    ) -> AsyncGenerator[service_pb2.StreamLogsResponse, None]:
        """What the processes of a run have logged, each line once. Raises NotFoundError.

        Args:
            follow: go on until the run has ended, also where the service is restarted meanwhile.
            after: lines with a higher sequence number than this.
            sources: of these, such as ``server`` or ``worker-0``; of all if there are none.
        """
        reading = LogReading(run_id, follow, after, sources)
        while True:
            try:
                stream = self._stream(self._stub.StreamLogs, reading.request)
                async with aclosing(stream) as responses:
                    async for response in responses:
                        if reading.takes(response):
                            yield response
                return
            except UnreachableError as error:
                await asyncio.sleep(reading.seconds(error))

    async def download(
        self, run_id: str, step: int | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Every parameter of a run by its name, such as ``0.W``.

        Args:
            step: of a snapshot; None for the end or, before it, the newest snapshot.

        Raises:
            NotFoundError, NoWeightsError, DamagedDownloadError
        """
        content = io.BytesIO()
        await self._receive(run_id, step, content.write)
        arrays: dict[str, NDArray[np.float32]] = load(content.getvalue())
        return arrays

    async def save_weights(
        self, run_id: str, output: Path, step: int | None = None
    ) -> service_pb2.WeightsFile:
        """Write the weights of a run to a safetensors file, as ``download`` has them.

        The file is there whole and durable, or as it was before.

        Raises:
            NotFoundError, NoWeightsError, DamagedDownloadError
            OSError: it cannot be written.
        """
        async with durable_file_on_loop(output) as target:
            return await self._receive(run_id, step, target.write)

    async def _receive(
        self, run_id: str, step: int | None, write: Callable[[bytes], object]
    ) -> service_pb2.WeightsFile:
        """Raises DamagedDownloadError."""
        download = WeightsDownload(write)
        async with aclosing(self._weights(run_id, step)) as responses:
            async for response in responses:
                await asyncio.to_thread(download.take, response)
        return download.whole()

    async def _weights(
        self, run_id: str, step: int | None
    ) -> AsyncGenerator[service_pb2.DownloadWeightsResponse, None]:
        request = service_pb2.DownloadWeightsRequest(id=run_id, step=step)
        again = retry.of_call(request)
        while True:
            try:
                async with aclosing(self._stream(self._stub.DownloadWeights, request)) as responses:
                    async for response in responses:
                        yield response
                return
            except BusyError as error:  # instead of a first response
                seconds = again.seconds(error)
            await asyncio.sleep(seconds)

    async def predict(self, run_id: str, x: ArrayLike, step: int | None = None) -> Prediction:
        """What a run's network gives for rows, all by the same weights.

        Args:
            x: (rows, *input) floats, as the network sees them.
            step: as in ``download``.

        Raises:
            ValueError: x is no array of rows of floats.
            NotFoundError, NoWeightsError
        """
        rows = prediction.checked_rows(x)
        [one] = prediction.requests(run_id, rows[:1], step, 1)
        first: service_pb2.PredictResponse = await self._call(self._stub.Predict, one)
        # By the step of the first answer: a newer snapshot may come between the calls.
        size = prediction.rows_a_call(rows, first)
        rest = prediction.requests(run_id, rows[1:], first.step, size)
        later = [await self._call(self._stub.Predict, request) for request in rest]
        return prediction.joined([first, *later])

    async def _stream(
        self, method: Callable[..., Any], request: Any, deadline: Deadline = UNBOUNDED
    ) -> AsyncGenerator[Any, None]:
        """The responses of a streaming call; silence is an error."""
        stream: AwaitedStream[Any] = AwaitedStream(method(request))
        try:
            while (response := await self._next(stream, deadline)) is not None:
                yield response
        finally:
            stream.close()

    async def _next(self, stream: AwaitedStream[T], deadline: Deadline) -> T | None:
        """The stream's next message, or None at its end."""
        seconds = deadline.bounded(connection.SILENCE_SECONDS)
        try:
            return await stream.next(seconds)
        except grpc.RpcError as error:
            raise typed(error, self.address) from None
        except TimeoutError:
            deadline.check()
            raise connection.silent(self.address) from None

    async def _call(self, method: Callable[..., Awaitable[T]], request: Any) -> T:
        again = retry.of_call(request)
        while True:
            try:
                return await method(request, timeout=connection.CALL_SECONDS)
            except grpc.RpcError as error:
                seconds = again.seconds(typed(error, self.address))
            await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Close the connection; calls that are under way end with an error."""
        await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()
