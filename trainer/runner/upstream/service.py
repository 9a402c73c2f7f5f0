"""The service as a runner's upstream, over gRPC."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc

from sumgrad.trainer.runner.upstream.outbox import Outbox
from sumgrad.trainer.runner.upstream.protocol import ServiceGoneError, WeightsNotTakenError
from sumgrad.trainer.v1 import runner_pb2, runner_pb2_grpc

CALL_SECONDS = 10.0
PUT_SECONDS = 1800.0
CHUNK_BYTES = 2**20
GONE_SECONDS = 600.0
"""The runner gives up when it cannot reach the service, or store the weights, for this long."""

MAX_REPORT_BYTES = 2**19
"""Of the reports in one call: with MAX_LINES_PER_CALL beside them, a call has 3.7 MB of the 4 MiB
that the service takes."""

FINAL = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED})
"""Refusals of the weights that another try would not change."""


class ServiceUpstream:
    """Sends reports in order and without loss: again, until they are acknowledged.

    Attributes:
        log: the run's log lines, which go with the reports.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._who: dict[str, Any] = {
            "id": environment["SUMGRAD_RUN_ID"],
            "attempt": int(environment["SUMGRAD_ATTEMPT"]),
            "token": environment["SUMGRAD_RUN_TOKEN"],
        }
        self._channel = _channel(environment)
        self._stub = runner_pb2_grpc.RunnerServiceStub(self._channel)
        self.log = Outbox(self.attempt)
        self._waiting: list[runner_pb2.RunReport] = []
        self._number = 0
        # The call whose answer is not read yet, and how many reports and log lines it holds.
        self._call: Any = None
        self._held = 0, 0
        self._clock = clock
        self._reached = clock()

    @property
    def attempt(self) -> int:
        """The number of this attempt at the run, counted from 1."""
        return int(self._who["attempt"])

    def take(self) -> runner_pb2.TakeRunResponse:
        """The assignment."""
        request = runner_pb2.TakeRunRequest(**self._who)
        return self._stub.TakeRun(request, timeout=CALL_SECONDS, wait_for_ready=True)

    def add(self, report: runner_pb2.RunReport) -> None:
        """Put a report in line for the next ``send``."""
        self._number += 1
        report.number = self._number
        self._waiting.append(report)

    def send(self) -> None:
        """Send what is in line, as much as one call holds, unless the last call is under way.

        Do not wait for the answer: workers that die meanwhile must be replaced.
        """
        if self._call is None:
            lines, reports = self.log.next(), self._portion()
            request = runner_pb2.ReportRequest(**self._who, reports=reports, log=lines)
            self._call = self._stub.Report.future(request, timeout=CALL_SECONDS)
            self._held = len(reports), len(lines)

    def requests(self) -> runner_pb2.ReportResponse | None:
        """The service's answer to the last ``send``, once; None until it is there.

        Raises:
            ServiceGoneError: it has not answered for GONE_SECONDS, or has another attempt.
        """
        return None if self._call is None or not self._call.done() else self._answer()

    def send_and_wait(self) -> runner_pb2.ReportResponse | None:
        """Send, and wait for the answer; None if the call failed.

        Raises:
            ServiceGoneError: see ``requests``.
        """
        self.send()
        return self._answer()

    def _portion(self) -> list[runner_pb2.RunReport]:
        """The first reports in line, as many as go with one call."""
        left = MAX_REPORT_BYTES
        for count, report in enumerate(self._waiting):
            left -= report.ByteSize()
            if left < 0 < count:
                return self._waiting[:count]
        return list(self._waiting)

    def _answer(self) -> runner_pb2.ReportResponse | None:
        call, self._call = self._call, None
        try:
            response: runner_pb2.ReportResponse = call.result()
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.PERMISSION_DENIED:
                raise ServiceGoneError("another attempt has taken over") from None
            if self._clock() - self._reached > GONE_SECONDS:
                raise ServiceGoneError(f"no answer for {GONE_SECONDS:.0f} s") from None
            return None
        self._reached = self._clock()
        reports, lines = self._held
        del self._waiting[:reports]
        self.log.acknowledged(lines)
        return response

    def flush(self) -> None:
        """Send until everything is acknowledged.

        Raises:
            ServiceGoneError: see ``requests``.
        """
        while self._waiting or self.log or self._call is not None:
            if self.send_and_wait() is None:
                time.sleep(0.5)

    def put_weights(self, path: Path) -> str:
        """Send the file of the weights until the service has it; its path there.

        Raises:
            ServiceGoneError: see ``requests``.
            WeightsNotTakenError: it answers, but does not store them.
        """
        failing = 0.0
        while True:
            try:
                response = self._stub.PutWeights(self._parts(path), timeout=PUT_SECONDS)
                return str(response.path)
            except grpc.RpcError as error:
                self.send_and_wait()  # raises if another attempt has taken over
                now = self._clock()
                failing = failing or now
                if error.code() in FINAL or now - failing > GONE_SECONDS:
                    raise WeightsNotTakenError(str(error.details())) from None
                time.sleep(0.5)

    def _parts(self, path: Path) -> Iterator[runner_pb2.PutWeightsRequest]:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").digest()
            announced = runner_pb2.AnnouncedWeights(
                **self._who, bytes=path.stat().st_size, sha256=sha256
            )
            yield runner_pb2.PutWeightsRequest(file=announced)
            file.seek(0)
            while chunk := file.read(CHUNK_BYTES):
                yield runner_pb2.PutWeightsRequest(chunk=chunk)

    def close(self) -> None:
        self._channel.close()


def _channel(environment: Mapping[str, str]) -> grpc.Channel:
    """Connect to the service, by whatever address; it must have the certificate if one is given."""
    address = environment["SUMGRAD_SERVICE"]
    certificate = environment.get("SUMGRAD_SERVICE_CERTIFICATE")
    if not certificate:
        return grpc.insecure_channel(address)
    name = [("grpc.ssl_target_name_override", environment["SUMGRAD_SERVICE_NAME"])]
    return grpc.secure_channel(
        address, grpc.ssl_channel_credentials(certificate.encode()), options=name
    )
