"""The Python client: submit runs, watch them, get their results.

from trainer.client import Client

with Client() as client:
    run = client.submit("examples/digits.toml")
    print(client.wait(run.id).result.accuracy)
"""

from __future__ import annotations

import copy
import functools
import io
import json
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import grpc
import numpy as np
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import load

from trainer.log_stream import read_logs
from trainer.prediction import Prediction, predict
from trainer.service import history
from trainer.service.settings import DEFAULT_ADDRESS
from trainer.spec.parse import parse
from trainer.spec.toml import override, read_toml
from trainer.spec.violations import InvalidSpecError, Violation
from trainer.spec.wire import to_message
from trainer.v1 import run_pb2, service_pb2, service_pb2_grpc
from trainer.weights_download import receive, save

CALL_SECONDS = 30.0
REACHABLE_SECONDS = 1.0
RETRY_SECONDS = (0.1, 0.3, 0.9)
"""Waits before a submission that nobody answered is sent again."""

T = TypeVar("T")


class ClientError(RuntimeError):
    """A call failed; the message is the service's."""


class UnreachableError(ClientError):
    """No service answers at the address."""


class NotFoundError(ClientError):
    """There is no such run."""


class EndedError(ClientError):
    """The run has ended, so this cannot be done to it any more."""


class NotEndedError(ClientError):
    """The run has not ended, so this cannot be done to it yet."""


class NoWeightsError(ClientError):
    """The run has no weights that the service can read."""


class RequestConflictError(ClientError):
    """Something else was submitted with the same request id."""


_ERRORS: dict[grpc.StatusCode, type[ClientError]] = {
    grpc.StatusCode.UNAVAILABLE: UnreachableError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: EndedError,
    grpc.StatusCode.ALREADY_EXISTS: RequestConflictError,
}
_REASONS: dict[str, type[ClientError]] = {
    "RUN_NOT_ENDED": NotEndedError,
    "NO_WEIGHTS": NoWeightsError,
}
"""Of what shares its code with something else."""


class Client:
    """Calls to one service; a context manager.

    Every call raises UnreachableError if nobody answers at the address, and another ClientError
    for what else the service refuses.
    """

    def __init__(self, address: str = DEFAULT_ADDRESS) -> None:
        self.address = address
        self._channel = grpc.insecure_channel(address)
        self._stub = service_pb2_grpc.TrainerServiceStub(self._channel)

    def reachable(self) -> bool:
        """Whether a service answers at the address within a second."""
        health = health_pb2_grpc.HealthStub(self._channel)
        request = health_pb2.HealthCheckRequest(service="trainer.v1.TrainerService")
        try:
            answer = health.Check(request, timeout=REACHABLE_SECONDS)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def submit(
        self,
        spec: str | Path | dict[str, Any],
        *,
        workers: int | None = None,
        set: tuple[str, ...] = (),
        start_from: str | Path | None = None,
        request_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
    ) -> run_pb2.Run:
        """Submit a run, once: where nobody answers, the same submission is sent again.

        Args:
            spec: a TOML file, or its content as a dictionary.
            workers: instead of the specification's ``workers.count``.
            set: overrides like ``train.batch_size=64``.
            start_from: checkpoint, instead of the specification's ``model.start_from``.
            request_id: the same one with the same submission gives the same run, whoever sends it
                and whenever; a new one unless it is given.
            labels: what the run can be found by.
            priority: stored with the run, within 32 bits.

        Raises:
            InvalidSpecError: with every mistake that was found; nothing is launched.
            RequestConflictError: the request id was used for something else.
        """
        request = service_pb2.SubmitRunRequest(
            spec=to_message(parse(read_spec(spec, workers, set, start_from))),
            request_id=uuid.uuid4().hex if request_id is None else request_id,
            labels=labels,
            priority=priority,
        )
        if request.request_id:
            for seconds in RETRY_SECONDS:
                try:
                    return self._submit(request)
                except UnreachableError:
                    time.sleep(seconds)
        return self._submit(request)

    def _submit(self, request: service_pb2.SubmitRunRequest) -> run_pb2.Run:
        response: service_pb2.SubmitRunResponse = self._call(self._stub.SubmitRun, request)
        return response.run

    def get(self, run_id: str) -> run_pb2.Run:
        """The run as it is. Raises NotFoundError."""
        request = service_pb2.GetRunRequest(id=run_id)
        response: service_pb2.GetRunResponse = self._call(self._stub.GetRun, request)
        return response.run

    def list(
        self,
        limit: int = 100,
        *,
        states: Collection[run_pb2.RunState] = (),
        name: str = "",
        labels: Mapping[str, str] | None = None,
        oldest_first: bool = False,
    ) -> list[run_pb2.Run]:
        """The newest runs, newest first, or the oldest.

        Args:
            states: those in one of these, if there are any.
            name: those of this name, or with a ``*`` at its end, whose name begins so.
            labels: those that have all of these.
        """
        runs: list[run_pb2.Run] = []
        request = service_pb2.ListRunsRequest(
            states=states,
            name=name,
            labels=labels,
            order_by="created asc" if oldest_first else "created desc",
        )
        while len(runs) < limit:
            request.page_size = min(limit - len(runs), 1000)
            page: service_pb2.ListRunsResponse = self._call(self._stub.ListRuns, request)
            runs += page.runs
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        return runs

    def cancel(self, run_id: str) -> run_pb2.Run:
        """Have a run stopped. Raises NotFoundError, EndedError."""
        request = service_pb2.CancelRunRequest(id=run_id)
        response: service_pb2.CancelRunResponse = self._call(self._stub.CancelRun, request)
        return response.run

    def delete(self, run_id: str) -> None:
        """Forget a run that has ended, and its files. Raises NotFoundError, NotEndedError."""
        self._call(self._stub.DeleteRun, service_pb2.DeleteRunRequest(id=run_id))

    def pause(self, run_id: str) -> run_pb2.Run:
        """Have a run stop at a snapshot. Raises NotFoundError, EndedError."""
        request = service_pb2.PauseRunRequest(id=run_id)
        response: service_pb2.PauseRunResponse = self._call(self._stub.PauseRun, request)
        return response.run

    def resume(self, run_id: str) -> run_pb2.Run:
        """Have a paused run go on. Raises NotFoundError, EndedError."""
        request = service_pb2.ResumeRunRequest(id=run_id)
        response: service_pb2.ResumeRunResponse = self._call(self._stub.ResumeRun, request)
        return response.run

    def scale(self, run_id: str, workers: int) -> run_pb2.Run:
        """Give a run another number of workers. Raises NotFoundError, EndedError."""
        request = service_pb2.ScaleRunRequest(id=run_id, workers=workers)
        response: service_pb2.ScaleRunResponse = self._call(self._stub.ScaleRun, request)
        return response.run

    def watch(self, run_id: str) -> Iterator[service_pb2.WatchRunResponse]:
        """A snapshot of the run, then every event, until the run has ended."""
        call = self._stub.WatchRun(service_pb2.WatchRunRequest(id=run_id))
        try:
            yield from call
        except grpc.RpcError as error:
            raise _typed(error, self.address) from None
        finally:
            call.cancel()

    def events(self, run_id: str) -> Iterator[run_pb2.Event]:
        """What has happened to a run so far, oldest first. Raises NotFoundError."""
        request = service_pb2.ListEventsRequest(id=run_id)
        while True:
            page: service_pb2.ListEventsResponse = self._call(self._stub.ListEvents, request)
            if not page.events:
                return
            yield from page.events
            request.after = page.events[-1].sequence

    def logs(
        self, run_id: str, *, follow: bool = False, after: int = 0, sources: Collection[str] = ()
    ) -> Iterator[service_pb2.StreamLogsResponse]:
        """What the processes of a run have logged, each line once. Raises NotFoundError.

        Args:
            follow: go on until the run has ended, also where the service is restarted meanwhile.
            after: lines with a higher sequence number than this.
            sources: of these, such as ``server`` or ``worker-0``; of all if there are none.
        """
        stream = functools.partial(self._stream, self._stub.StreamLogs)
        return read_logs(
            stream,
            run_id,
            follow=follow,
            after=after,
            sources=sources,
            unreachable=UnreachableError,
        )

    def download(self, run_id: str, step: int | None = None) -> dict[str, NDArray[np.float32]]:
        """Every parameter of a run by its name, such as ``0.W``.

        Args:
            step: of a snapshot; None for the end or, before it, the newest snapshot.

        Raises:
            NotFoundError, NoWeightsError, DamagedDownloadError
        """
        content = io.BytesIO()
        receive(self._weights(run_id, step), content.write)
        arrays: dict[str, NDArray[np.float32]] = load(content.getvalue())
        return arrays

    def save_weights(
        self, run_id: str, output: Path, step: int | None = None
    ) -> service_pb2.WeightsFile:
        """Write the weights of a run to a safetensors file, as ``download`` has them.

        Raises:
            NotFoundError, NoWeightsError, DamagedDownloadError
            OSError: it cannot be written.
        """
        return save(self._weights(run_id, step), output)

    def _weights(
        self, run_id: str, step: int | None
    ) -> Iterator[service_pb2.DownloadWeightsResponse]:
        request = service_pb2.DownloadWeightsRequest(id=run_id, step=step)
        return self._stream(self._stub.DownloadWeights, request)

    def predict(self, run_id: str, x: ArrayLike, step: int | None = None) -> Prediction:
        """What a run's network gives for rows.

        Args:
            x: (rows, *input) floats, as the network sees them.
            step: as in ``download``.

        Raises:
            ValueError: x is no array of rows of floats.
            NotFoundError, NoWeightsError
        """
        call = functools.partial(self._call, self._stub.Predict)
        return predict(call, run_id, x, step)

    def _stream(self, method: Callable[..., Any], request: Any) -> Iterator[Any]:
        """The responses of a streaming call."""
        call = method(request)
        try:
            yield from call
        except grpc.RpcError as error:
            raise _typed(error, self.address) from None
        finally:
            call.cancel()

    def wait(self, run_id: str) -> run_pb2.Run:
        """The run when it has ended."""
        for _ in self.watch(run_id):
            pass
        run = self.get(run_id)
        assert history.ended(run)
        return run

    def _call(self, method: Callable[..., T], request: Any) -> T:
        try:
            return method(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise _typed(error, self.address) from None

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


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


def _typed(error: grpc.RpcError, address: str) -> Exception:
    """The exception that a gRPC error stands for."""
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    for detail in status.details if status is not None else ():
        detail.Unpack(info)
        bad_request = error_details_pb2.BadRequest()
        if detail.Unpack(bad_request):
            return InvalidSpecError(
                Violation(violation.field, violation.description)
                for violation in bad_request.field_violations
            )
    kind = _REASONS.get(info.reason) or _ERRORS.get(error.code(), ClientError)
    if kind is UnreachableError and not info.reason:
        return UnreachableError(
            f"no service answers at {address}; start one with `sumgrad serve`, or name another "
            "with --address"
        )
    return kind(error.details() or error.code().name)
