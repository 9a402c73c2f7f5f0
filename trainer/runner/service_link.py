"""The runner's calls to the service."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import grpc

from trainer.runner.outbox import Outbox
from trainer.v1 import runner_pb2, runner_pb2_grpc

CALL_SECONDS = 10.0
GONE_SECONDS = 600.0
"""A service that cannot be reached for this long is given up."""


class ServiceGoneError(RuntimeError):
    """The service cannot be reached, or does not want this runner any more."""


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
