"""What a runner sends to its service: in portions, without waiting, and not for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from sumgrad.trainer.runner.upstream.outbox import MAX_LINES_PER_CALL
from sumgrad.trainer.runner.upstream.protocol import ServiceGoneError
from sumgrad.trainer.runner.upstream.service import GONE_SECONDS, MAX_REPORT_BYTES, ServiceUpstream
from sumgrad.trainer.v1 import run_pb2, runner_pb2, runner_pb2_grpc
from sumgrad.workers.logs.log_buffer import MAX_MESSAGE_LENGTH

from support.services import RunningService
from support.waiting import eventually

SECONDS = 30.0


def warning(text: str) -> runner_pb2.RunReport:
    return runner_pb2.RunReport(warning=run_pb2.Warning(message=text))


@pytest.mark.slow
def test_what_has_gathered_while_the_service_was_away_goes_in_portions(
    service: RunningService, document: dict[str, Any]
) -> None:
    run = service.client.submit(document)
    upstream = ServiceUpstream(service.launcher.next_launch().environment())
    upstream.take()
    # More than the service takes in one message, and log lines beside it; some are as large as a
    # portion, or larger.
    sizes = [10_000] * 600 + [MAX_REPORT_BYTES - 100, MAX_REPORT_BYTES + 1, 1]
    for number, size in enumerate(sizes):
        upstream.add(warning(f"{number} ".ljust(size, ".")))
    line = run_pb2.LogLine(message="\N{GRINNING FACE}" * MAX_MESSAGE_LENGTH)
    for _ in range(2 * MAX_LINES_PER_CALL):
        upstream.log.add([run_pb2.LogLine(message=line.message)])
    try:
        upstream.flush()
    finally:
        upstream.close()
    events: list[run_pb2.Event] = []
    while page := service.loop.run(service.parts.runs.events(run.id, len(events))):
        events += page
    found = [one.warning.message.partition(" ")[0] for one in events if one.HasField("warning")]
    assert found == [str(number) for number in range(len(sizes))]


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
def played() -> Iterator[tuple[PlayedService, ServiceUpstream]]:
    service = PlayedService()
    server = grpc.server(ThreadPoolExecutor(2))
    runner_pb2_grpc.add_RunnerServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    upstream = ServiceUpstream(environment(port))
    yield service, upstream
    service.go_on.set()
    upstream.close()
    server.stop(None).wait(SECONDS)


def environment(port: int) -> dict[str, str]:
    return {
        "SUMGRAD_SERVICE": f"127.0.0.1:{port}",
        "SUMGRAD_RUN_ID": "r-1",
        "SUMGRAD_ATTEMPT": "1",
        "SUMGRAD_RUN_TOKEN": "a token",
    }


def test_a_service_that_is_slow_to_answer_is_not_waited_for(
    played: tuple[PlayedService, ServiceUpstream],
) -> None:
    service, upstream = played
    upstream.add(warning("first"))
    upstream.send()
    eventually(lambda: service.taken)
    upstream.add(warning("second"))
    upstream.send()
    assert upstream.requests() is None
    assert service.taken == [[1]], "one call at a time"
    service.go_on.set()
    requests = eventually(upstream.requests)
    assert requests is not None
    assert requests.workers == 1
    assert upstream.requests() is None
    upstream.flush()
    assert service.taken == [[1], [2]]


def test_a_service_that_does_not_answer_is_given_up_in_the_end() -> None:
    now = 0.0
    # Nobody listens on this port.
    upstream = ServiceUpstream(environment(9), lambda: now)
    try:
        upstream.add(warning("lost"))
        assert upstream.send_and_wait() is None
        now = GONE_SECONDS
        assert upstream.send_and_wait() is None
        now = GONE_SECONDS + 0.1
        with pytest.raises(ServiceGoneError, match="no answer for 600 s"):
            upstream.send_and_wait()
    finally:
        upstream.close()
