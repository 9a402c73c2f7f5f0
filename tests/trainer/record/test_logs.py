"""Logs of runs: what processes keep, what the service stores, what clients read."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sumgrad.trainer.cli.verbs.logs import print_logs, text
from sumgrad.trainer.client import Client, NotFoundError
from sumgrad.trainer.client.streams import log_reading
from sumgrad.trainer.record import log_file
from sumgrad.trainer.record.log_file import LogFile, LogReader
from sumgrad.trainer.record.log_line import document, dump, load
from sumgrad.trainer.runner.drill_journal import DrillJournal
from sumgrad.trainer.runner.log_messages import log_message
from sumgrad.trainer.runner.upstream import outbox
from sumgrad.trainer.runner.upstream.outbox import Outbox
from sumgrad.trainer.server import parameter_server
from sumgrad.trainer.service.cluster import attempt_policy
from sumgrad.trainer.service.outputs import run_logs
from sumgrad.trainer.v1 import run_pb2, runner_pb2, service_pb2
from sumgrad.workers import serving
from sumgrad.workers.logs import log_buffer
from sumgrad.workers.logs.captured_output import CapturedOutput
from sumgrad.workers.logs.log_buffer import LogBuffer

from support.services import PlayedRunner, RunningService, StartService
from support.waiting import eventually

ESCAPES = "\x1b[2J\x1b]0;title\x07 \x9b31m \u202e \x7f \r\n é 数"


def line(message: str, number: int = 0, source: str = "server", attempt: int = 1) -> Any:
    found = run_pb2.LogLine(
        sequence=number,
        source=source,
        message=message,
        attempt=attempt,
        level=run_pb2.LOG_LEVEL_INFO,
    )
    found.time.FromJsonString("2030-01-02T03:04:05.678Z")
    return found


def messages(lines: Any) -> list[str]:
    return [each.message for each in lines]


def read_all(folder: Path, after: int = 0) -> list[run_pb2.LogLine]:
    reader = LogReader(folder, after)
    try:
        return list(rest(reader))
    finally:
        reader.close()


def rest(reader: LogReader) -> Iterator[run_pb2.LogLine]:
    while lines := reader.read():
        yield from lines


# --- what a process keeps -----------------------------------------------------------------------


@pytest.fixture
def logger() -> Iterator[tuple[logging.Logger, LogBuffer]]:
    logger, buffer = logging.getLogger("sumgrad.trainer.test_logs"), LogBuffer()
    logger.addHandler(buffer)
    logger.setLevel(logging.INFO)
    yield logger, buffer
    logger.removeHandler(buffer)


def test_a_logged_line_has_its_level_its_step_and_its_traceback(
    logger: tuple[logging.Logger, LogBuffer],
) -> None:
    log, buffer = logger
    log.debug("chatter")
    log.info("at %s", "work", extra={"step": 7})
    try:
        raise ValueError("no good")
    except ValueError:
        log.exception("failed")
    told, failed = buffer.take()
    assert (told.level, told.message, told.step) == (logging.INFO, "at work", 7)
    assert failed.level == logging.ERROR
    assert failed.message.startswith("failed\nTraceback")
    assert failed.message.endswith("ValueError: no good")
    assert not failed.HasField("step")
    assert buffer.take() == []


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        (parameter_server.__name__, ["note", "warning"]),
        (serving.__name__, ["note", "warning"]),
        ("another_library", ["warning"]),
    ],
)
def test_notes_are_kept_of_our_own_loggers_only(name: str, kept: list[str]) -> None:
    buffer, ours = LogBuffer(), logging.getLogger(log_buffer.OURS)
    level = ours.level
    buffer.capture()
    try:
        logging.getLogger(name).info("note")
        logging.getLogger(name).warning("warning")
    finally:
        logging.getLogger().removeHandler(buffer)
        ours.setLevel(level)
    assert messages(buffer.take()) == kept


def test_lines_beyond_the_rate_are_counted_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10**9]
    monkeypatch.setattr(log_buffer.time, "time_ns", lambda: now[0])
    buffer = LogBuffer()
    for number in range(log_buffer.MAX_LINES_A_SECOND + 23):
        buffer.add(logging.INFO, str(number))
    lines = messages(buffer.take())
    assert lines[:-1] == [str(number) for number in range(log_buffer.MAX_LINES_A_SECOND)]
    assert lines[-1].startswith("23 lines were left out here")
    now[0] += 10**9
    buffer.add(logging.INFO, "again")
    assert messages(buffer.take()) == ["again"]


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    buffer = LogBuffer()
    buffer.add(logging.INFO, "begin" + "x" * 100_000 + "end")
    [only] = messages(buffer.take())
    assert only.startswith("begin")
    assert only.endswith("end")
    assert "[…92008 characters…]" in only
    assert len(only) < log_buffer.MAX_MESSAGE_LENGTH + 40


def test_what_is_printed_to_a_file_is_read_back_line_by_line(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb", buffering=0) as file:
        file.write(b"before\n")
        printed = CapturedOutput(file.fileno())
        assert printed.read() == ([], 0)
        file.write(b":actor_name:_Worker\none\n\ntw")
        assert printed.read() == (["one"], 0)
        file.write(b"o \xff\nthree")
        assert printed.read() == (["two \ufffd"], 0)
        for number in range(20_000):
            file.write(b"\nline %d" % number)
        file.write(b"\n")
        lines, skipped = printed.read()
        assert lines[-1] == "line 19999"
        assert skipped + len(lines) in (20_001, 20_002)  # one may be cut in two
        printed.close()


def test_a_terminal_or_a_pipe_is_left_alone() -> None:
    reading, writing = os.pipe()
    try:
        printed = CapturedOutput(writing)
        os.write(writing, b"line\n")
        assert printed.read() == ([], 0)
    finally:
        os.close(reading)
        os.close(writing)


# --- what the runner sends ----------------------------------------------------------------------


def test_the_runner_sends_lines_again_until_they_are_acknowledged() -> None:
    box = Outbox(attempt=2)
    box.add([line("a"), line("b")])
    first = [(each.sequence, each.attempt, each.message) for each in box.next()]
    assert first == [(1, 2, "a"), (2, 2, "b")]
    box.write("worker-0", logging.ERROR, "died", 5)
    assert messages(box.next()) == ["a", "b", "died"]
    box.acknowledged(2)
    [left] = box.next()
    assert (left.sequence, left.source, left.step) == (3, "worker-0", 5)
    box.acknowledged(1)
    assert len(box) == 0


def test_lines_that_wait_for_too_long_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MAX_WAITING_LINES", 3)
    box = Outbox(attempt=1)
    box.add(line(str(number)) for number in range(5))
    assert messages(box.next()) == ["0", "1", "2"]
    box.acknowledged(3)
    assert messages(box.next()) == [
        "2 lines were left out: the service did not answer for too long"
    ]


def test_figures_are_no_log_lines_and_events_are() -> None:
    def told(**kind: Any) -> Any:
        return log_message(runner_pb2.RunReport(**kind))

    assert told(progress=run_pb2.Progress()) is None
    assert told(epoch=run_pb2.Epoch()) is None
    left = run_pb2.Membership(worker="worker-1", step=3, reason="it was killed")
    assert told(membership=left) == (logging.WARNING, "worker-1 left: it was killed", 3)
    failed = runner_pb2.Failed(message="step 4: NaN")
    assert told(failed=failed) == (logging.ERROR, "the run has failed: step 4: NaN", None)


def test_drills_are_told_once_and_the_runners_own_death_by_its_successor(tmp_path: Path) -> None:
    path = tmp_path / "faults.jsonl"
    fault = {"point": "answer", "action": "kill"}
    with path.open("a") as file:
        for target, step in (("worker-0", 3), ("runner", 5)):
            file.write(json.dumps({"target": target, "step": step, "attempt": 1, **fault}) + "\n")
    first, second = DrillJournal(path, 1), DrillJournal(path, 2)
    assert [(who, step) for who, _, step in first.fired()] == [("worker-0", 3), ("runner", 5)]
    assert first.fired() == []
    assert second.fired() == [("runner", "drill: kill at the point 'answer' of step 5", 5)]
    assert DrillJournal(tmp_path / "none", 1).fired() == []


# --- on disk ------------------------------------------------------------------------------------


def test_lines_come_back_as_they_were_and_are_numbered(tmp_path: Path) -> None:
    LogFile(tmp_path).append([line("a", 1), line(ESCAPES, 2, "worker-0")])
    LogFile(tmp_path).append([line("from the service")])
    found = read_all(tmp_path)
    assert [each.sequence for each in found] == [1, 2, 3]
    assert messages(found) == ["a", ESCAPES, "from the service"]
    assert found[0].time.ToJsonString() == "2030-01-02T03:04:05.678Z"
    content = (tmp_path / log_file.CURRENT).read_text()
    assert content.replace("\n", "").isprintable()
    assert len(content.splitlines()) == 3


def test_a_line_that_is_sent_again_is_stored_once_also_after_a_restart(tmp_path: Path) -> None:
    file = LogFile(tmp_path)
    file.append([line("a", 1), line("b", 2)])
    file.append([line("b", 2), line("c", 3)])
    file.append([line("the service")])
    LogFile(tmp_path).append([line("c", 3), line("d", 4), line("a", 1, attempt=2)])
    assert messages(read_all(tmp_path)) == ["a", "b", "c", "the service", "d", "a"]


def test_a_line_that_a_crash_tore_is_cut_off_and_others_words_are_passed_by(
    tmp_path: Path,
) -> None:
    LogFile(tmp_path).append([line("a", 1)])
    with (tmp_path / log_file.CURRENT).open("a") as file:
        file.write('not JSON\n[]\n{"sequence": "x"}\n{"sequence":2,"time":"20')
    LogFile(tmp_path).append([line("b", 2)])
    assert messages(read_all(tmp_path)) == ["a", "b"]


@pytest.mark.slow
def test_a_log_has_a_bounded_size_and_its_reader_misses_nothing_that_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "FILE_BYTES", 4_000)
    monkeypatch.setattr(log_file, "READ_BYTES", 300)
    file, reader = LogFile(tmp_path), LogReader(tmp_path, 0)
    seen = []
    for number in range(1, 501):
        file.append([line(f"{number}", number)])
        if number % 5 == 0:
            seen += [each.sequence for each in rest(reader)]
    assert seen == list(range(1, 501))
    assert reader.missed == 0
    reader.close()
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) <= 4_000

    late = LogReader(tmp_path, 0)
    kept = [each.sequence for each in rest(late)]
    assert kept == list(range(late.missed + 1, 501))
    assert late.missed > 400
    late.close()
    assert [each.sequence for each in read_all(tmp_path, 495)] == [496, 497, 498, 499, 500]


def test_what_cannot_be_written_is_lost_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = LogFile(tmp_path)
    file.append([line("a", 1)])
    before = (tmp_path / log_file.CURRENT).read_bytes()
    real = os.write

    def full(descriptor: int, content: Any) -> int:
        real(descriptor, content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log_file.os, "write", full)
    with pytest.raises(OSError, match="No space"):
        file.append([line("b", 2)])
    monkeypatch.setattr(log_file.os, "write", real)
    assert (tmp_path / log_file.CURRENT).read_bytes() == before
    file.append([line("b", 2)])
    assert [each.sequence for each in read_all(tmp_path)] == [1, 2]


# --- for eyes and for programs ------------------------------------------------------------------


def test_no_character_of_a_line_acts_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    nasty = line(ESCAPES, 1, "worker-0\x1b[0m")
    shown = dump(document(nasty))
    assert shown.isprintable()
    assert json.loads(shown)["message"] == ESCAPES
    assert load(json.loads(shown)) == nasty
    assert all(part.isprintable() for part in text(nasty).split("\n"))
    assert "\\x1b[2J" in text(nasty)
    responses = [service_pb2.StreamLogsResponse(lines=[nasty], missed=3, sequence=1)]
    print_logs(responses, json=True)
    out, err = capsys.readouterr()
    assert json.loads(out) == document(nasty)
    assert err == "3 lines before these are not kept any more\n"


# --- over gRPC ----------------------------------------------------------------------------------


def log_of(service: RunningService, run_id: str, **options: Any) -> list[run_pb2.LogLine]:
    responses = service.client.logs(run_id, **options)
    return [each for response in responses for each in response.lines]


def report_log(runner: PlayedRunner, *lines: run_pb2.LogLine, **kind: Any) -> None:
    request = runner_pb2.ReportRequest(**runner._who, log=lines)
    if kind:
        runner._number += 1
        request.reports.add(number=runner._number, **kind)
    runner._stub.Report(request, timeout=30)


def test_the_log_of_a_run_has_what_its_runner_sends_and_what_the_service_does(
    service: RunningService, document: dict[str, Any]
) -> None:
    run = service.client.submit(document)
    runner = service.next_runner()
    runner.take()
    report_log(runner, line("hello", 1, "worker-0"), line("again", 2, "worker-0.1"))
    report_log(runner, line("again", 2, "worker-0.1"), line("server", 3))
    found = log_of(service, run.id)
    assert [(each.source, each.message) for each in found] == [
        ("service", "launching"),
        ("service", "running"),
        ("worker-0", "hello"),
        ("worker-0.1", "again"),
        ("server", "server"),
    ]
    assert messages(log_of(service, run.id, sources=["worker-0"])) == ["hello", "again"]
    assert messages(log_of(service, run.id, sources=["server"], after=4)) == ["server"]
    with pytest.raises(NotFoundError):
        log_of(service, "r-9")


@pytest.mark.slow
def test_a_log_is_followed_to_the_end_of_its_run(
    service: RunningService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_logs, "POLL_SECONDS", 0.01)
    run = service.client.submit(document)
    runner = service.next_runner()
    runner.take()
    seen: list[run_pb2.LogLine] = []

    def follow() -> None:
        with Client(service.address) as client:
            for response in client.logs(run.id, follow=True):
                seen.extend(response.lines)

    thread = threading.Thread(target=follow)
    thread.start()
    for number in range(1, 300):
        report_log(runner, line(str(number), number))
    eventually(lambda: len(seen) > 100)
    report_log(runner, line("last", 300), finished=run_pb2.Result(steps=1))
    thread.join(30)
    assert not thread.is_alive()
    assert [each.sequence for each in seen] == list(range(1, 303))
    assert seen[-1].message == "last"


@pytest.mark.slow
def test_a_log_is_read_on_after_a_restart_of_the_service_without_a_gap(
    start_service: StartService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_policy, "CANCEL_SECONDS", 0.0)
    before = start_service()
    run = before.client.submit(document)
    runner = before.next_runner()
    runner.take()
    report_log(runner, *(line(str(number), number) for number in range(1, 51)))
    requests: list[service_pb2.StreamLogsRequest] = []
    clients = [Client(before.address)]
    read = clients[0]._stream

    def stream(_method: object, request: service_pb2.StreamLogsRequest) -> Iterator[Any]:
        requests.append(service_pb2.StreamLogsRequest.FromString(request.SerializeToString()))
        if len(requests) == 2:
            after = start_service()
            clients.append(Client(after.address))
            after.client.cancel(run.id)
        return read(clients[-1]._stub.StreamLogs, request)

    monkeypatch.setattr(log_reading, "RECONNECT_SECONDS", 0.0)
    monkeypatch.setattr(clients[0], "_stream", stream)
    responses = clients[0].logs(run.id, follow=True)
    seen = list(next(responses).lines)
    before.stop()
    seen += [each for response in responses for each in response.lines]
    assert [each.sequence for each in seen] == list(range(1, len(seen) + 1))
    assert messages(seen)[2:52] == [str(number) for number in range(1, 51)]
    assert messages(seen)[-1].startswith("cancelled")
    assert [request.after for request in requests] == [0, 52]
    for client in clients:
        client.close()


def test_a_disk_that_is_full_costs_lines_and_no_run(
    service: RunningService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = service.client.submit(document)
    runner = service.next_runner()
    runner.take()

    def full(self: LogFile, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(LogFile, "_write", full)
        report_log(runner, line("a", 1), line("b", 2))
    report_log(runner, line("c", 3), finished=run_pb2.Result(steps=1))
    assert service.client.get(run.id).state == run_pb2.RUN_STATE_SUCCEEDED
    assert messages(log_of(service, run.id))[2:] == [
        "2 lines could not be written here and are lost",
        "c",
    ]
