"""Submissions that are safe to repeat, lists and deletion, over real gRPC; on both databases."""

from __future__ import annotations

import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from sumgrad.trainer.cli.app import main
from sumgrad.trainer.cli.exit_codes import ExitCode
from sumgrad.trainer.client import (
    Client,
    ClientError,
    NotEndedError,
    NotFoundError,
    RequestConflictError,
    UnreachableError,
)
from sumgrad.trainer.service.runs import deletion, submission
from sumgrad.trainer.service.store.run_store import RunStore
from sumgrad.trainer.service.store.store_errors import StoreUnavailableError
from sumgrad.trainer.spec.messages import to_message
from sumgrad.trainer.spec.parse import parse
from sumgrad.trainer.spec.violations import InvalidSpecError, Violation
from sumgrad.trainer.v1 import run_pb2, service_pb2, service_pb2_grpc

from support.postgres_server import PostgresServer
from support.services import PlayedRunner, RunningService, StartService, on_both_databases
from support.services_to_kill import STEPS, ServiceToKill, services_to_kill
from support.waiting import SECONDS, eventually

QUEUED = run_pb2.RUN_STATE_QUEUED
LAUNCHING = run_pb2.RUN_STATE_LAUNCHING
SUCCEEDED = run_pb2.RUN_STATE_SUCCEEDED


def stub(channel: grpc.Channel) -> Any:
    return service_pb2_grpc.TrainerServiceStub(channel)


@contextmanager
def refused(code: grpc.StatusCode, reason: str, **metadata: str) -> Iterator[None]:
    """The call ends with this code and this ErrorInfo."""
    with pytest.raises(grpc.RpcError) as caught:
        yield
    status = rpc_status.from_call(caught.value)
    info = error_details_pb2.ErrorInfo()
    assert status.details[-1].Unpack(info)
    assert (caught.value.code(), info.reason, info.domain) == (code, reason, "sumgrad")
    assert dict(info.metadata) == metadata


def finish(service: RunningService, run_id: str) -> None:
    """Have the next run that is launched succeed."""
    launch = service.launcher.next_launch()
    assert launch.run_id == run_id
    runner = PlayedRunner(launch, service.channel)
    runner.take()
    runner.report(finished=run_pb2.Result(steps=1))


# --- requests -----------------------------------------------------------------------------------


@on_both_databases
def test_a_submission_with_the_same_id_is_the_same_run_also_after_a_restart(
    start_service: StartService, document: dict[str, Any]
) -> None:
    before = start_service()
    wishes: dict[str, Any] = {"request_id": "mine", "labels": {"team": "vision"}, "priority": -3}
    run = before.client.submit(document, **wishes).info
    assert (run.request_id, dict(run.labels), run.priority) == ("mine", {"team": "vision"}, -3)
    assert before.client.submit(document, **wishes).id == run.id
    before.stop()
    after = start_service()
    assert after.client.submit(document, **wishes).id == run.id
    assert [found.id for found in after.client.list()] == [run.id]


@on_both_databases
def test_another_submission_with_the_same_id_is_refused_and_names_the_run(
    service: RunningService, document: dict[str, Any]
) -> None:
    run = service.client.submit(document, request_id="mine").info
    with pytest.raises(RequestConflictError, match=f"'mine' was used for run {run.id}"):
        service.client.submit(document, request_id="mine", workers=1)
    request = service_pb2.SubmitRunRequest(request_id="mine", priority=1, spec=run.spec)
    with refused(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_CONFLICT", run=run.id):
        stub(service.channel).SubmitRun(request, timeout=SECONDS)
    assert [found.id for found in service.client.list()] == [run.id]


@pytest.mark.slow
@on_both_databases
def test_fifty_submissions_at_once_with_one_id_are_one_run(
    service: RunningService, document: dict[str, Any]
) -> None:
    request = service_pb2.SubmitRunRequest(spec=to_message(parse(document)), request_id="one")
    submit = stub(service.channel).SubmitRun
    calls = [submit.future(request, timeout=SECONDS) for _ in range(50)]
    [run_id] = {call.result().run.id for call in calls}
    assert service.launcher.next_launch().run_id == run_id
    assert [run.id for run in service.client.list()] == [run_id]
    eventually(lambda: service.client.get(run_id).state == LAUNCHING)
    assert service.launcher.launched.empty()


@pytest.mark.slow
@on_both_databases
def test_two_services_that_get_one_submission_at_once_store_one_run(
    start_service: StartService, document: dict[str, Any]
) -> None:
    services = [start_service(), start_service()]
    request = service_pb2.SubmitRunRequest(spec=to_message(parse(document)), request_id="one")
    calls = [
        stub(service.channel).SubmitRun.future(request, timeout=SECONDS)
        for _ in range(10)
        for service in services
    ]
    assert len({call.result().run.id for call in calls}) == 1
    assert len(services[0].client.list()) == 1


def test_submissions_without_an_id_are_runs_of_their_own(
    service: RunningService, document: dict[str, Any]
) -> None:
    for _ in range(2):
        service.client.submit(document, request_id="")
        service.client.submit(document)
    runs = service.client.list()
    assert len(runs) == 4
    assert Counter(bool(run.request_id) for run in runs) == {True: 2, False: 2}


def test_ids_of_runs_have_64_random_bits(service: RunningService, document: dict[str, Any]) -> None:
    """Of a million runs two are alike with 3 in 100 million, and a deleted one's is not reused."""
    ids = {service.client.submit(document).id for _ in range(8)}
    assert all(re.fullmatch("r-[0-9a-f]{16}", each) for each in ids)
    numbers = [int(each[2:], 16) for each in ids]
    assert len({number >> 32 for number in numbers}) == 8
    assert len({number & 0xFFFFFFFF for number in numbers}) == 8


def test_a_run_is_given_back_also_when_its_data_is_gone(
    service: RunningService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = service.client.submit(document, request_id="mine")

    def check(*_: object) -> None:
        raise InvalidSpecError([Violation("data.path", "cannot be read")])

    monkeypatch.setattr(submission, "check_against_data", check)
    assert service.client.submit(document, request_id="mine").id == run.id


@pytest.mark.parametrize("stored", [False, True], ids=["before", "after"])
def test_a_submission_whose_answer_was_lost_is_sent_again_and_stored_once(
    service: RunningService,
    document: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    stored: bool,
) -> None:
    working, calls = RunStore.create, count()

    def create(store: RunStore, *arguments: Any) -> Any:
        if next(calls) == 0:
            if stored:
                working(store, *arguments)
            raise StoreUnavailableError("the connection is lost")
        return working(store, *arguments)

    monkeypatch.setattr(RunStore, "create", create)
    run = service.client.submit(document)
    assert [found.id for found in service.client.list()] == [run.id]


def test_a_store_that_stays_away_is_told_in_the_services_words(
    service: RunningService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailableError("the run store is away")

    monkeypatch.setattr("sumgrad.trainer.client.streams.retry.CALL_WAITS", (0, 0))
    monkeypatch.setattr(RunStore, "requested", fail)
    with pytest.raises(UnreachableError, match=r"^the run store is away$"):
        service.client.submit(document)


@pytest.mark.parametrize(
    ("wishes", "field"),
    [
        ({"request_id": "x" * 129}, "request_id"),
        ({"request_id": "a\nb"}, "request_id"),
        ({"labels": {"": "x"}}, "labels"),
        ({"labels": {"a=b": "x"}}, "labels"),
        ({"labels": {"k" * 65: "x"}}, "labels"),
        ({"labels": {"k": "x" * 257}}, "labels"),
        ({"labels": {"k": "\0"}}, "labels"),
        ({"labels": {str(i): "" for i in range(65)}}, "labels"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_request_that_cannot_be_is_refused_and_nothing_is_stored(
    service: RunningService, document: dict[str, Any], wishes: dict[str, Any], field: str
) -> None:
    request = service_pb2.SubmitRunRequest(spec=to_message(parse(document)), **wishes)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", field=field):
        stub(service.channel).SubmitRun(request, timeout=SECONDS)
    assert service.client.list() == []


def test_the_longest_request_id_and_labels_are_taken(
    service: RunningService, document: dict[str, Any]
) -> None:
    labels = {f"{i:064}": "ü" * 256 for i in range(64)}
    run = service.client.submit(document, request_id="ü" * 128, labels=labels)
    assert [found.id for found in service.client.list(labels=labels)] == [run.id]


# --- lists --------------------------------------------------------------------------------------


@on_both_databases
def test_runs_are_found_by_state_name_and_labels_in_either_order(
    service: RunningService, document: dict[str, Any]
) -> None:
    def submit(name: str, **labels: str) -> str:
        return service.client.submit(document | {"name": name}, labels=labels).id

    a, b, c = submit("digits", team="x"), submit("digits 2", team="x", dry="1"), submit("other")
    eventually(lambda: service.client.get(a).state == LAUNCHING)

    def found(**wanted: Any) -> list[str]:
        return [run.id for run in service.client.list(**wanted)]

    assert found(oldest_first=True) == [a, b, c]
    assert found(states=[QUEUED]) == [c, b]
    assert found(states=[QUEUED, LAUNCHING], labels={"team": "x"}) == [b, a]
    assert found(name="digits") == [a]
    assert found(name="digits*", limit=1, oldest_first=True) == [a]
    assert found(labels={"team": "x", "dry": "1"}) == [b]
    assert found(labels={"team": "x"}, name="other") == []
    assert found(id_prefix=b) == [b]
    assert found(id_prefix=b, name="other") == []
    assert found(id_prefix="r-", limit=2) == [c, b]


@on_both_databases
def test_the_pages_of_a_filtered_list_are_complete_while_runs_are_submitted(
    service: RunningService, document: dict[str, Any]
) -> None:
    wanted = [service.client.submit(document, labels={"k": "v"}).id for _ in range(5)]
    found, token = [], ""
    while True:
        request = service_pb2.ListRunsRequest(page_size=2, page_token=token, labels={"k": "v"})
        page = stub(service.channel).ListRuns(request, timeout=SECONDS)
        found += [run.id for run in page.runs]
        service.client.submit(document, labels={"k": "v"})
        if not (token := page.next_page_token):
            break
    assert found == wanted[::-1]


@pytest.mark.parametrize(
    "fields",
    [
        {"states": [0]},
        {"states": [99]},
        {"order_by": "name"},
        {"name": "\0"},
        {"id_prefix": "\0"},
        {"labels": {"k": "\n"}},
        {"page_size": -1},
        {"page_token": "1-x"},
    ],
    ids=str,
)
def test_a_list_that_cannot_be_is_refused(service: RunningService, fields: dict[str, Any]) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", field=next(iter(fields))):
        stub(service.channel).ListRuns(service_pb2.ListRunsRequest(**fields), timeout=SECONDS)


# --- deletion -----------------------------------------------------------------------------------


@on_both_databases
def test_a_run_that_has_ended_is_deleted_with_its_files(
    service: RunningService, document: dict[str, Any], tmp_path: Path
) -> None:
    run, other = (service.client.submit(document) for _ in range(2))
    folders = [tmp_path / "state" / "runs" / each.id for each in (run, other)]
    for folder in folders:
        (folder / "snapshots").mkdir(parents=True)
        (folder / "snapshots" / "00000001.json").write_text("{}")
    with pytest.raises(NotEndedError, match=f"run {run.id} has not ended"):
        service.client.delete(run.id)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "RUN_NOT_ENDED", run=run.id):
        stub(service.channel).DeleteRun(service_pb2.DeleteRunRequest(id=run.id), timeout=SECONDS)
    assert [folder.exists() for folder in folders] == [True, True]
    finish(service, run.id)
    service.client.delete(run.id)
    assert [folder.exists() for folder in folders] == [False, True]
    assert [found.id for found in service.client.list()] == [other.id]
    for call in (service.client.get, service.client.delete, service.client.wait):
        with pytest.raises(NotFoundError):
            call(run.id)


def test_a_run_without_files_is_deleted(service: RunningService, document: dict[str, Any]) -> None:
    run = service.client.submit(document)
    finish(service, run.id)
    service.client.delete(run.id)
    assert service.client.list() == []


def test_a_run_whose_files_cannot_be_deleted_is_kept(
    service: RunningService, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = service.client.submit(document)
    finish(service, run.id)

    def rmtree(_path: Path) -> None:
        raise OSError("Read-only file system")

    monkeypatch.setattr(deletion.shutil, "rmtree", rmtree)
    with pytest.raises(ClientError, match="so it is kept: Read-only file system"):
        service.client.delete(run.id)
    assert service.client.get(run.id).state == SUCCEEDED


def test_no_id_leads_out_of_the_folder_of_runs(service: RunningService, tmp_path: Path) -> None:
    for run_id in ("", ".", "..", "../services", str(tmp_path)):
        with pytest.raises(NotFoundError):
            service.client.delete(run_id)
    assert (tmp_path / "state" / "services").exists()


# --- a store that comes and goes ----------------------------------------------------------------


@pytest.mark.parametrize("store_url", ["postgres"], indirect=True)
def test_a_service_outlives_its_postgres(
    service: RunningService, postgres_server: PostgresServer, document: dict[str, Any]
) -> None:
    run = service.client.submit(document)
    runner = service.next_runner()
    runner.take()
    waiting = service.client.submit(document)
    postgres_server.stop()
    try:
        with refused(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"):
            stub(service.channel).GetRun(service_pb2.GetRunRequest(id=run.id), timeout=SECONDS)
        with pytest.raises(grpc.RpcError):
            runner.report(finished=run_pb2.Result(steps=1))
    finally:
        postgres_server.start()
    runner.report(finished=run_pb2.Result(steps=1))
    assert service.launcher.next_launch().run_id == waiting.id
    assert service.client.get(run.id).state == SUCCEEDED


@pytest.mark.parametrize(
    ("store", "from_environment", "said"),
    [
        ("postgresql://ann:secret@127.0.0.1:1/runs", False, "--store must not hold a password"),
        ("postgresql://ann:secret@127.0.0.1:1/runs", True, "cannot open the run store"),
        ("postgresql://ann@127.0.0.1:1/runs", False, "cannot open the run store"),
        ("ann:secret", True, "must be like postgresql://"),
    ],
)
def test_the_password_of_the_store_is_not_taken_from_the_command_line_and_never_shown(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    store: str,
    from_environment: bool,
    said: str,
) -> None:
    monkeypatch.setenv("SUMGRAD_STATE", str(tmp_path))
    if from_environment:
        monkeypatch.setenv("SUMGRAD_STORE", store)
    given = [] if from_environment else ["--store", store]
    monkeypatch.setattr("sys.argv", ["sumgrad", "serve", "--address", "127.0.0.1:0", *given])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capfd.readouterr()
    assert ended.value.code == ExitCode.BAD_INPUT
    assert said in err
    assert "secret" not in out + err


# --- killed services ----------------------------------------------------------------------------


@pytest.fixture
def start_to_kill(
    tmp_path: Path, store_url: str | None
) -> Iterator[Callable[[str | None], ServiceToKill]]:
    (tmp_path / "state").mkdir()
    with services_to_kill(tmp_path / "state", store_url) as start:
        yield start


def jobs_of(state: Path) -> list[str]:
    return (state / "jobs").read_text().split()


@pytest.mark.slow
@on_both_databases
@pytest.mark.parametrize("step", STEPS)
def test_a_service_that_is_killed_on_the_way_to_a_job_leaves_one_job_in_the_end(
    start_to_kill: Callable[[str | None], ServiceToKill],
    document: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    monkeypatch.setattr("sumgrad.trainer.client.streams.retry.CALL_WAITS", ())
    with Client(start_to_kill(step).address) as client:
        try:
            run_id = client.submit(document, request_id="mine").id
        except UnreachableError:
            run_id = ""
        eventually(lambda: not client.reachable())
    with Client(start_to_kill(None).address) as client:
        again = client.submit(document, request_id="mine").id
        assert run_id in ("", again)
        eventually(lambda: (tmp_path / "state" / "jobs").exists())
        eventually(lambda: client.get(again).state == LAUNCHING)
        [run] = client.list()
    [job] = jobs_of(tmp_path / "state")
    assert job == f"sumgrad-{run.id}-{run.attempt}"


@pytest.mark.slow
@on_both_databases
def test_a_thousand_submissions_to_services_that_are_killed_are_all_there_and_none_twice(
    start_to_kill: Callable[[str | None], ServiceToKill], document: dict[str, Any], tmp_path: Path
) -> None:
    """Eight clients that repeat what was not answered; a service lives for a fraction of them."""
    document["data"] = {"type": "noise", "shape": [4], "rows": 256, "classes": 10}
    spec = to_message(parse(document))
    chance = random.Random(7)
    current = start_to_kill(None)
    todo = iter(range(1000))
    acknowledged: dict[str, str] = {}
    answered = threading.Condition()

    def next_number() -> int | None:
        with answered:
            return next(todo, None)

    def submit_some() -> None:
        service, channel = current, grpc.insecure_channel(current.address)
        while (number := next_number()) is not None:
            request = service_pb2.SubmitRunRequest(spec=spec, request_id=f"request {number}")
            while request.request_id not in acknowledged:
                if service is not current:
                    channel.close()
                    service, channel = current, grpc.insecure_channel(current.address)
                try:
                    response = stub(channel).SubmitRun(request, timeout=SECONDS)
                except grpc.RpcError as error:
                    if error.code() != grpc.StatusCode.UNAVAILABLE:
                        raise
                else:
                    with answered:
                        acknowledged[request.request_id] = response.run.id
                        answered.notify_all()
        channel.close()

    kills = sorted(chance.sample(range(1000), 8))
    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(submit_some) for _ in range(8)]
        for kill in kills:
            with answered:
                assert answered.wait_for(lambda kill=kill: len(acknowledged) >= kill, 60)
            current.kill()
            current = start_to_kill(None)
        for client in clients:
            client.result(60)
    with Client(current.address) as client:
        stored = {run.request_id: run.id for run in client.list(2000)}
        assert len(client.list(2000)) == 1000
    assert stored == acknowledged
    jobs = jobs_of(tmp_path / "state")
    assert len(jobs) == len(set(jobs))
    assert all(job.endswith("-1") for job in jobs)
