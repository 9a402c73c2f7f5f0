"""What a runner sends to its service: without waiting, and not for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from conftest import eventually

from trainer.runner.link import ServiceGoneError
from trainer.runner.service_link import GONE_SECONDS, ServiceLink
from trainer.v1 import run_pb2, runner_pb2, runner_pb2_grpc

SECONDS = 30.0


def warning(text: str) -> runner_pb2.RunReport:
    return runner_pb2.RunReport(warning=run_pb2.Warning(message=text))


class PlayedService(runner_pb2_grpc.RunnerServiceServicer):
    """Answers to reports when it is let.

    Attributes:
        taken: the numbers of the reports of each call.
    """

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.taken: list[list[int]] = []

    def Report(  # noqa: N802
        self, request: runner_pb2.ReportRequest, context: grpc.ServicerContext
    ) -> runner_pb2.ReportResponse:
        self.taken.append([report.number for report in request.reports])
        assert self.go_on.wait(SECONDS)
        return runner_pb2.ReportResponse(workers=len(self.taken))


@pytest.fixture
def played() -> Iterator[tuple[PlayedService, ServiceLink]]:
    service = PlayedService()
    server = grpc.server(ThreadPoolExecutor(2))
    runner_pb2_grpc.add_RunnerServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    link = ServiceLink(environment(port))
    yield service, link
    service.go_on.set()
    link.close()
    server.stop(None).wait(SECONDS)


def environment(port: int) -> dict[str, str]:
    return {
        "SUMGRAD_SERVICE": f"127.0.0.1:{port}",
        "SUMGRAD_RUN_ID": "r-1",
        "SUMGRAD_ATTEMPT": "1",
        "SUMGRAD_RUN_TOKEN": "a token",
    }


def test_a_service_that_is_slow_to_answer_is_not_waited_for(
    played: tuple[PlayedService, ServiceLink],
) -> None:
    service, link = played
    link.add(warning("first"))
    link.send()
    eventually(lambda: service.taken)
    link.add(warning("second"))
    link.send()
    assert link.wishes() is None
    assert service.taken == [[1]], "one call at a time"
    service.go_on.set()
    wishes = eventually(link.wishes)
    assert wishes is not None
    assert wishes.workers == 1
    assert link.wishes() is None
    link.flush()
    assert service.taken == [[1], [2]]


def test_a_service_that_does_not_answer_is_given_up_in_the_end() -> None:
    now = 0.0
    # Nobody listens on this port.
    link = ServiceLink(environment(9), lambda: now)
    try:
        link.add(warning("lost"))
        assert link.ask() is None
        now = GONE_SECONDS
        assert link.ask() is None
        now = GONE_SECONDS + 0.1
        with pytest.raises(ServiceGoneError, match="no answer for 600 s"):
            link.ask()
    finally:
        link.close()
