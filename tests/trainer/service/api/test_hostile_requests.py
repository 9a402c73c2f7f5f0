"""Whatever a stranger sends is answered with a caller's mistake, and others are still served."""

from __future__ import annotations

import itertools
import os
import re
import resource
import socket
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from hypothesis import given, settings
from hypothesis import strategies as st

from sumgrad.trainer.client import Client
from sumgrad.trainer.service.cluster.launcher import Launch
from sumgrad.trainer.service.settings import ConnectionLimits
from sumgrad.trainer.spec.fit import check_against_data
from sumgrad.trainer.spec.messages import spec_of, to_message
from sumgrad.trainer.spec.parse import parse
from sumgrad.trainer.spec.violations import InvalidSpecError
from sumgrad.trainer.v1 import run_pb2, runner_pb2, service_pb2

from support.hostile_messages import METHODS, hostile, many_layers
from support.hostile_requests import ANSWERS, bombard, call, requests
from support.played_launcher import PlayedLauncher
from support.services import RunningService, StartService
from support.waiting import eventually

SUBMIT = "/sumgrad.trainer.v1.TrainerService/SubmitRun"
GET = "/sumgrad.trainer.v1.TrainerService/GetRun"
REPORT = "/sumgrad.trainer.v1.RunnerService/Report"
REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

IDLE = 1000
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\x04\0\0\0\0\0"


def refusal(channel: grpc.Channel, method: str, content: bytes) -> tuple[grpc.StatusCode, str, str]:
    """Code, sentence and reason of an answer that is a refusal."""
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, method, content)
    info, status = error_details_pb2.ErrorInfo(), rpc_status.from_call(caught.value)
    assert status.details[-1].Unpack(info)
    return caught.value.code(), caught.value.details(), info.reason


# --- decoding and validation, without a service ------------------------------------------------


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False))
def test_a_submission_is_valid_or_refused_with_a_sentence_for_each_mistake(random: Random) -> None:
    try:
        request = service_pb2.SubmitRunRequest.FromString(hostile(random, METHODS[SUBMIT]))
    except DecodeError:
        return
    try:
        spec = spec_of(request.spec)
        check_against_data(spec, workers_limit=8)
    except InvalidSpecError as error:
        spec, mistakes = None, error.violations
    if spec is None:
        assert mistakes
        assert all(mistake.description for mistake in mistakes)
    else:
        assert spec_of(to_message(spec)) == spec


def test_hostile_messages_reach_both_sides_of_the_checks() -> None:
    random, found = Random(0), set()
    for _ in range(300):
        try:
            request = service_pb2.SubmitRunRequest.FromString(hostile(random, METHODS[SUBMIT]))
            spec_of(request.spec)
            found.add("valid")
        except DecodeError:
            found.add("malformed")
        except InvalidSpecError:
            found.add("invalid")
    assert found == {"valid", "malformed", "invalid"}


# --- a real service ----------------------------------------------------------------------------


class _Launched(PlayedLauncher):
    """The one run that a service has launched."""

    def __init__(self, launch: Launch) -> None:
        super().__init__()
        self.last = launch


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_every_method_answers_hostile_requests_as_the_callers_mistake(
    service: RunningService, document: dict[str, Any], seed: int
) -> None:
    service.client.submit(document)
    jobs = _Launched(service.launcher.next_launch())
    codes = bombard(service.channel, itertools.islice(requests(Random(seed), jobs), 500))
    assert codes.total() == 500
    assert codes.keys() <= {code.name for code in ANSWERS} | {"RESOURCE_EXHAUSTED"}
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND"} <= codes.keys()


@pytest.mark.slow
def test_what_the_service_keeps_by_name_does_not_grow_with_the_names_that_callers_choose(
    start_service: StartService, document: dict[str, Any]
) -> None:
    service = start_service(metrics_address="127.0.0.1:0")
    service.client.submit(document)
    # Taken by the launcher, so half of the requests are about it.
    jobs = _Launched(service.launcher.next_launch())

    def call(number: int) -> None:
        bombard(service.channel, itertools.islice(requests(Random(number), jobs), 50))
        for name in (f"/sumgrad.trainer.v1.TrainerService/M{number}", f"/x{number}/GetRun"):
            with pytest.raises(grpc.RpcError) as caught:
                service.channel.unary_unary(name)(b"", timeout=20)
            assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
        for run_id in (f"r-{number}", f"r-{number}" * 1000):
            refusal(service.channel, GET, service_pb2.GetRunRequest(id=run_id).SerializeToString())

    for number in range(10):
        call(number)
    assert service.metrics_url is not None
    with urllib.request.urlopen(service.metrics_url, timeout=20) as response:
        scrape = response.read().decode()
    counted = set(re.findall(r'sumgrad_grpc_requests_total{.*method="(.*?)".*}', scrape))
    assert "unknown" in counted
    assert counted <= METHODS.keys() | {"unknown"}
    attempts, runs_here = service.parts.attempts, service.parts.runs
    runs = {run.id for run in service.client.list()}
    for known in (
        {attempt.run_id for attempt in attempts._policy.statuses},
        runs_here.queue._entries,
        runs_here.queue._paused,
        runs_here.logs._files,
        runs_here.logs._lost,
        runs_here.metrics._states,
        runs_here.metrics._queued,
        runs_here.metrics._runs,
        runs_here.metrics._step_times,
    ):
        assert set(known) <= runs
    assert not runs_here.watching._feeds


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "content", [b"\xff", b"\x0a\x7f", b"\x0b" * 10_000], ids=["random", "cut", "nested"]
)
def test_bytes_that_are_no_message_are_an_invalid_argument(
    service: RunningService, method: str, content: bytes
) -> None:
    code, message, reason = refusal(service.channel, method, content)
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")
    assert message.startswith(f"the request's {len(content)} bytes are not the message")


def test_a_message_over_the_cap_is_refused_by_grpc(service: RunningService) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        service.channel.unary_unary(SUBMIT)(bytes(ConnectionLimits.message_bytes + 1), timeout=20)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_bytes_that_are_no_message_end_a_stream_of_requests_too(service: RunningService) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(service.channel.stream_stream(REFLECT)(iter([b"\xff"]), timeout=20))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_health_checks_can_be_watched(service: RunningService) -> None:
    stub = health_pb2_grpc.HealthStub(service.channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=20)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


def test_a_specification_of_megabytes_is_refused_before_it_is_looked_at(
    service: RunningService,
) -> None:
    code, message, reason = refusal(service.channel, SUBMIT, many_layers(500_000))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert message.startswith("spec must have at most 262144 bytes, got ")


@pytest.mark.slow
def test_a_thousand_layers_with_every_field_fit_the_largest_specification(
    service: RunningService, document: dict[str, Any]
) -> None:
    layer = {"type": "convolution_relu", "channels": 2**31 - 1, "bias": "channel"}
    layer |= {"initialiser": "normal", "init_std": 0.1}
    layer |= {field: [2**31 - 1, 2**31 - 1] for field in ("kernel", "stride", "padding")}
    document["model"]["layers"] = [layer] * 1000
    document["faults"] = [
        {"target": "worker-1023", "step": 2**31 - 1, "point": "compute", "action": "raise"}
    ] * 100
    message = to_message(parse(document))
    _, text, _ = refusal(
        service.channel, SUBMIT, service_pb2.SubmitRunRequest(spec=message).SerializeToString()
    )
    assert text.startswith("model.layers")


def test_two_thousand_mistakes_are_told_as_far_as_a_refusal_has_room(
    service: RunningService, document: dict[str, Any]
) -> None:
    request = service_pb2.SubmitRunRequest(spec=to_message(parse(document)))
    for _ in range(990):
        request.spec.model.layers.add().convolution.kernel.extend([0, 0])
    request.spec.name = "ж\0" * 50_000
    with pytest.raises(grpc.RpcError) as caught:
        service.channel.unary_unary(SUBMIT)(request.SerializeToString(), timeout=20)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == (
        "name: must have at most 200 characters, got 100000 (and 990 more)"
    )
    bad_request = error_details_pb2.BadRequest()
    assert rpc_status.from_call(caught.value).details[0].Unpack(bad_request)
    assert len(bad_request.field_violations) > 20


@pytest.mark.parametrize("run_id", ["r" * 4_000_000, "ж" * 2_000_000, "\0", "\x1b[2J"])
def test_an_id_of_any_length_is_an_id_that_no_run_has(service: RunningService, run_id: str) -> None:
    request = service_pb2.GetRunRequest(id=run_id).SerializeToString()
    code, _, reason = refusal(service.channel, GET, request)
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND")


def test_a_list_by_more_labels_than_a_run_can_have_is_refused(service: RunningService) -> None:
    request = service_pb2.ListRunsRequest(labels={str(i): "" for i in range(65)})
    method = "/sumgrad.trainer.v1.TrainerService/ListRuns"
    code, message, _ = refusal(service.channel, method, request.SerializeToString())
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert message == "labels must be at most 64, got 65"


def report(
    launch: Launch, token: str, *reports: runner_pb2.RunReport, log: Sequence[run_pb2.LogLine] = ()
) -> bytes:
    request = runner_pb2.ReportRequest(
        id=launch.run_id, attempt=launch.attempt, token=token, reports=reports, log=log
    )
    return request.SerializeToString()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (run_pb2.LogLine(level=-1), "levels of LogLevel, got -1"),  # type: ignore[arg-type]
        (
            run_pb2.LogLine(time=Timestamp(seconds=2**62)),
            f"times in the years 1 to 9999, with 0 to 999,999,999 ns, got {2**62} s and 0 ns",
        ),
    ],
)
def test_a_log_line_that_cannot_be_written_down_is_refused(
    service: RunningService, document: dict[str, Any], line: run_pb2.LogLine, problem: str
) -> None:
    service.client.submit(document)
    launch = service.launcher.next_launch()
    content = report(launch, launch.token, log=[line])
    code, message, _ = refusal(service.channel, REPORT, content)
    assert (code, message) == (grpc.StatusCode.INVALID_ARGUMENT, f"log must have {problem}")


def test_a_token_of_other_than_ascii_letters_is_a_wrong_token(
    service: RunningService, document: dict[str, Any]
) -> None:
    service.client.submit(document)
    content = report(service.launcher.next_launch(), "ж")
    code, _, reason = refusal(service.channel, REPORT, content)
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_THE_RUNNER")


def test_reports_that_could_not_be_stored_or_shown_are_refused(
    service: RunningService, document: dict[str, Any]
) -> None:
    service.client.submit(document)
    launch = service.launcher.next_launch()
    phase = runner_pb2.Phase(name="compute", counts=[1])
    for bad in (
        runner_pb2.RunReport(number=2**63, progress=run_pb2.Progress(step=1)),
        runner_pb2.RunReport(number=1, step_times=runner_pb2.StepTimes(phases=[phase])),
    ):
        code, message, _ = refusal(service.channel, REPORT, report(launch, launch.token, bad))
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        assert message.startswith("reports must have ")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (run_pb2.LogLine(sequence=1, time=Timestamp(seconds=-(2**63))), f"{-(2**63)} s and 0 ns"),
        (run_pb2.LogLine(sequence=1, time=Timestamp(nanos=2**31 - 1)), f"0 s and {2**31 - 1} ns"),
        (run_pb2.LogLine(sequence=1, level=99), "levels of LogLevel, got 99"),  # type: ignore[arg-type]
    ],
    ids=["seconds", "nanos", "level"],
)
def test_a_log_line_that_could_not_be_stored_is_refused_and_costs_no_other(
    service: RunningService, document: dict[str, Any], line: run_pb2.LogLine, problem: str
) -> None:
    run = service.client.submit(document)
    launch = service.launcher.next_launch()
    good = run_pb2.LogLine(sequence=1, message="good")
    for bad in ([line], [good, line]):
        code, message, reason = refusal(service.channel, REPORT, logged(launch, *bad))
        assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
        assert message.startswith("log must have ")
        assert message.endswith(problem)
    service.channel.unary_unary(REPORT)(logged(launch, good), timeout=20)
    told = [line.message for each in service.client.logs(run.id) for line in each.lines]
    assert told == ["launching", "good"]


def logged(launch: Launch, *lines: run_pb2.LogLine) -> bytes:
    request = runner_pb2.ReportRequest(
        id=launch.run_id, attempt=launch.attempt, token=launch.token, log=lines
    )
    return request.SerializeToString()


# --- files that never end ----------------------------------------------------------------------


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A folder of names that must not be read to their end."""
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "memory.safetensors").symlink_to("/proc/self/pagemap")
    (tmp_path / "zero.safetensors").symlink_to("/dev/zero")
    return tmp_path


@pytest.mark.parametrize("kind", ["npz", "idx"])
@pytest.mark.parametrize("name", ["pipe", "loop", "zero.safetensors", "memory.safetensors", "."])
def test_data_that_is_no_file_is_refused_and_not_waited_for(
    service: RunningService, document: dict[str, Any], endless: Path, kind: str, name: str
) -> None:
    document["data"] = {"type": kind, "path": str(endless / name)}
    with pytest.raises(InvalidSpecError, match=r"data\.path"):
        service.client.submit(document)


@pytest.mark.parametrize(
    "name",
    ["pipe", "loop", "pipe.safetensors", "zero.safetensors", "memory.safetensors", "x" * 300],
)
def test_a_checkpoint_that_is_no_file_is_refused_and_not_waited_for(
    service: RunningService, document: dict[str, Any], endless: Path, name: str
) -> None:
    document["model"]["start_from"] = str(endless / name)
    with pytest.raises(InvalidSpecError, match=r"model\.start_from"):
        service.client.submit(document)


# --- connections that say nothing --------------------------------------------------------------


@contextmanager
def file_limit(least: int) -> Iterator[None]:
    """So many open files, if the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < least:
        pytest.skip(f"at most {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, least), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
def test_a_thousand_idle_connections_keep_nobody_waiting(
    service: RunningService, document: dict[str, Any]
) -> None:
    host, port = service.address.split(":")
    said = [b"", PREFACE[:10], PREFACE, PREFACE + SETTINGS]
    with file_limit(3 * IDLE), ExitStack() as open_sockets:
        for i in range(IDLE):
            idle = socket.create_connection((host, int(port)), timeout=20)
            open_sockets.enter_context(idle)
            idle.sendall(said[i % len(said)])
        other = open_sockets.enter_context(Client(service.address))
        run = other.submit(document)
        for _ in range(100):
            assert other.get(run.id).id == run.id
        assert service.client.get(run.id).id == run.id


@pytest.mark.slow
def test_a_connection_that_says_nothing_is_closed(start_service: Any) -> None:
    host, port = start_service(limits=ConnectionLimits(handshake_seconds=1)).address.split(":")
    for said in (b"", PREFACE[:10]):
        with socket.create_connection((host, int(port)), timeout=20) as idle:
            idle.sendall(said)
            eventually(lambda idle=idle: _closed(idle))


def _closed(connection: socket.socket) -> bool:
    """Reads what there is, with the connection's bound."""
    try:
        return connection.recv(4096) == b""
    except ConnectionResetError:
        return True
