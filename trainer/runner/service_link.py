"""The runner's calls to the service."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc

from trainer.runner.link import ServiceGoneError, WeightsNotTakenError
from trainer.runner.outbox import Outbox
from trainer.v1 import runner_pb2, runner_pb2_grpc

CALL_SECONDS = 10.0
PUT_SECONDS = 1800.0
CHUNK_BYTES = 2**20
GONE_SECONDS = 600.0
"""A service that cannot be reached, or cannot store the weights, for this long is given up."""

FINAL = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED})
"""Refusals of the weights that another try does not change."""


class ServiceLink:
    """Reports in order and without loss: what is not acknowledged is sent again.

    Attributes:
        log: the run's log lines, which go with the reports.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
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
        self._reached = time.monotonic()

    @property
    def attempt(self) -> int:
        """The number of this attempt at the run, counted from 1."""
        return int(self._who["attempt"])

    def take(self) -> runner_pb2.TakeRunResponse:
        """What to do."""
        request = runner_pb2.TakeRunRequest(**self._who)
        return self._stub.TakeRun(request, timeout=CALL_SECONDS, wait_for_ready=True)

    def add(self, report: runner_pb2.RunReport) -> None:
        """Put a report in line for the next ``send``."""
        self._number += 1
        report.number = self._number
        self._waiting.append(report)

    def send(self) -> runner_pb2.ReportResponse | None:
        """Send what is in line; what the service wishes, or None if it did not answer.

        Raises:
            ServiceGoneError: it has not answered for GONE_SECONDS, or refuses this runner.
        """
        lines = self.log.next()
        request = runner_pb2.ReportRequest(**self._who, reports=self._waiting, log=lines)
        try:
            response = self._stub.Report(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.PERMISSION_DENIED:
                raise ServiceGoneError("another attempt has taken over") from None
            if time.monotonic() - self._reached > GONE_SECONDS:
                raise ServiceGoneError(f"no answer for {GONE_SECONDS:.0f} s") from None
            return None
        self._reached = time.monotonic()
        self._waiting.clear()
        self.log.acknowledged(len(lines))
        return response

    def flush(self) -> None:
        """Send until everything is acknowledged.

        Raises:
            ServiceGoneError: see ``send``.
        """
        while self._waiting or self.log:
            if self.send() is None:
                time.sleep(0.5)

    def put_weights(self, path: Path) -> str:
        """Send the file of the weights until the service has it; where it lies there.

        Raises:
            ServiceGoneError: see ``send``.
            WeightsNotTakenError: it answers, and does not take them.
        """
        failing = 0.0
        while True:
            try:
                response = self._stub.PutWeights(self._parts(path), timeout=PUT_SECONDS)
                return str(response.path)
            except grpc.RpcError as error:
                self.send()  # says too whether the service still wants this runner
                now = time.monotonic()
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
    """To the one service that has the certificate, under whatever address it is reached."""
    address = environment["SUMGRAD_SERVICE"]
    certificate = environment.get("SUMGRAD_SERVICE_CERTIFICATE")
    if not certificate:
        return grpc.insecure_channel(address)
    name = [("grpc.ssl_target_name_override", environment["SUMGRAD_SERVICE_NAME"])]
    return grpc.secure_channel(
        address, grpc.ssl_channel_credentials(certificate.encode()), options=name
    )
