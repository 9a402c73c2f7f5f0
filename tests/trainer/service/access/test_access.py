"""Who may do what: tokens, roles, TLS and the audit log, over real gRPC."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import stat
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import symbol_database
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from sumgrad.trainer.cli.app import main
from sumgrad.trainer.cli.exit_codes import ExitCode
from sumgrad.trainer.client import (
    Client,
    ClientError,
    NotAllowedError,
    NotAuthenticatedError,
    NotFoundError,
    RequestConflictError,
    UnreachableError,
)
from sumgrad.trainer.client.connection import Connection
from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.runner.upstream.service import ServiceUpstream
from sumgrad.trainer.service.access import audit, authentication
from sumgrad.trainer.service.access.caller import Caller, Role
from sumgrad.trainer.service.access.permissions import PERMISSIONS
from sumgrad.trainer.service.access.token_store import TokenStore
from sumgrad.trainer.service.access.tokens import new_token
from sumgrad.trainer.service.service import Service
from sumgrad.trainer.service.settings import Settings
from sumgrad.trainer.service.store.database import Database
from sumgrad.trainer.v1 import run_pb2, runner_pb2, service_pb2, service_pb2_grpc

from support.certificates import Authority, Pair
from support.repository import ROOT
from support.services import PlayedRunner, RunningService, StartService, on_both_databases
from support.waiting import SECONDS, eventually

SERVED = (
    service_pb2.DESCRIPTOR,
    runner_pb2.DESCRIPTOR,
    health_pb2.DESCRIPTOR,
    reflection_pb2.DESCRIPTOR,
)
REFUSALS = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
HOUR = 3_600_000_000


def now() -> int:
    return time.time_ns() // 1000


class Users:
    """Makes tokens in a service's store, as ``sumgrad token`` does."""

    def __init__(self, place: Path | str) -> None:
        self._database = Database(place)
        self.tokens = TokenStore(self._database)

    def token(self, user: str, role: Role, lifetime: int | None = None) -> str:
        text, stored = new_token(user, role, now(), lifetime)
        self.tokens.add(stored)
        return text

    def revoke(self, token: str) -> None:
        assert self.tokens.revoke(token.split("_")[1], now())

    def close(self) -> None:
        self._database.close()


@pytest.fixture
def users(tmp_path: Path, store_url: str | None) -> Iterator[Users]:
    users = Users(store_url or tmp_path / "state" / "runs.db")
    yield users
    users.close()


@pytest.fixture
def guarded(start_service: StartService, users: Users) -> RunningService:
    """A service that asks for tokens."""
    return start_service(auth=True)


@pytest.fixture
def as_(guarded: RunningService, users: Users) -> Iterator[Callable[..., Client]]:
    """Clients of the guarded service with tokens of their own."""
    clients: list[Client] = []

    def client(user: str, role: Role = Role.SUBMITTER) -> Client:
        clients.append(Client(guarded.address, token=users.token(user, role)))
        return clients[-1]

    yield client
    for made in clients:
        made.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"), "ca")


@pytest.fixture(scope="session")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"), "other")


@pytest.fixture(scope="session")
def server_pair(authority: Authority) -> Pair:
    return authority.issue("server")


# --- the table ----------------------------------------------------------------------------------


def methods() -> dict[str, Any]:
    """The descriptors of all methods that a service serves."""
    return {
        f"/{service.full_name}/{method.name}": method
        for file in SERVED
        for service in file.services_by_name.values()
        for method in service.methods
    }


def documented() -> dict[str, list[str]]:
    """What docs/access.md says of viewer, submitter and admin, by method."""
    rows = re.findall(
        r"^\| `(\w+)\.(\w+)` \| (.+) \| (.+) \| (.+) \|$",
        (ROOT / "docs" / "access.md").read_text(),
        re.MULTILINE,
    )
    full = {tuple(re.split(r"[./]", name)[-2:]): name for name in methods()}
    return {full[service, method]: cells for service, method, *cells in rows}


def test_every_method_that_is_served_has_a_rule_and_a_line_in_the_documentation() -> None:
    assert PERMISSIONS.keys() == methods().keys()
    assert documented().keys() == methods().keys()


def test_the_run_that_a_rule_is_about_is_named_in_the_request() -> None:
    for name, rule in PERMISSIONS.items():
        fields = methods()[name].input_type.fields_by_name
        if name.startswith("/sumgrad.trainer.v1.TrainerService/"):
            assert bool(rule.run) == ("id" in fields)
        if rule.run:
            assert rule.run in fields
            assert not methods()[name].client_streaming


@pytest.mark.parametrize("name", PERMISSIONS)
def test_the_documentation_says_what_the_rule_does(name: str) -> None:
    rule = PERMISSIONS[name]
    cells = documented()[name]
    if rule.least is None:
        assert len(set(cells)) == 1
        assert cells[0] == ("the run's own token" if rule.runs else "yes, without a token")
        return
    for role, cell in zip(Role, cells, strict=True):
        everybodys = "all runs" if role is Role.ADMIN else "own runs"
        allowed = everybodys if rule.runs else "yes"
        assert cell == (allowed if role.includes(rule.least) else "–")


def call(channel: grpc.Channel, name: str, run_id: str, token: str | None) -> grpc.StatusCode:
    """Call a method with as little as it takes; the code, or OK after the first response."""
    method = methods()[name]
    request_class = symbol_database.Default().GetSymbol(method.input_type.full_name)
    response_class = symbol_database.Default().GetSymbol(method.output_type.full_name)
    request = request_class(
        **({"id": run_id} if "id" in request_class.DESCRIPTOR.fields_by_name else {})
    )
    form = f"{'stream' if method.client_streaming else 'unary'}_"
    form += "stream" if method.server_streaming else "unary"
    stub = getattr(channel, form)(
        name,
        request_serializer=request_class.SerializeToString,
        response_deserializer=response_class.FromString,
    )
    metadata = [] if token is None else [("authorization", f"Bearer {token}")]
    given = iter([request]) if method.client_streaming else request
    try:
        answer = stub(given, timeout=SECONDS, metadata=metadata)
        if method.server_streaming:
            next(iter(answer))
            answer.cancel()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.mark.slow
def test_each_method_answers_each_caller_as_the_documentation_says(
    guarded: RunningService, users: Users, document: dict[str, Any]
) -> None:
    submitter = users.token("ann", Role.SUBMITTER)
    with Client(guarded.address, token=submitter) as client:
        anns = client.submit(document).id
    with Client(guarded.address, token=users.token("bob", Role.SUBMITTER)) as client:
        bobs = client.submit(document).id
    tokens = {
        Role.VIEWER: users.token("ann", Role.VIEWER),
        Role.SUBMITTER: submitter,
        Role.ADMIN: users.token("root", Role.ADMIN),
    }
    expired, revoked = (users.token("ann", Role.ADMIN, lifetime) for lifetime in (1, None))
    users.revoke(revoked)
    unknown, _ = new_token("ann", Role.ADMIN, now(), None)
    forged = tokens[Role.ADMIN][:-1] + ("0" if tokens[Role.ADMIN][-1] != "0" else "1")
    worthless = (None, "", "nonsense", unknown, forged, expired, revoked)
    # What is deleted is not there for the others.
    for name, cells in sorted(documented().items(), key=lambda item: "Delete" in item[0]):
        needs_token = cells[0] not in ("yes, without a token", "the run's own token")
        for token in worthless:
            code = call(guarded.channel, name, anns, token)
            assert (code == grpc.StatusCode.UNAUTHENTICATED) == needs_token, (name, token, code)
        if not needs_token:
            continue
        about_a_run = "id" in methods()[name].input_type.fields_by_name
        for role, cell in zip(Role, cells, strict=True):
            of_another = call(guarded.channel, name, bobs, tokens[role])
            own = call(guarded.channel, name, anns, tokens[role])
            if cell == "–":
                assert own == of_another == grpc.StatusCode.PERMISSION_DENIED, (name, role)
            else:
                hidden = about_a_run and cell == "own runs"
                assert (of_another == grpc.StatusCode.NOT_FOUND) == hidden, (name, role)
                assert own not in (*REFUSALS, grpc.StatusCode.NOT_FOUND), (name, role, own)


def test_a_method_without_a_rule_is_refused_to_admins_too(
    guarded: RunningService, users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "/sumgrad.trainer.v1.TrainerService/ListRuns"
    root = users.token("root", Role.ADMIN)
    assert call(guarded.channel, name, "", root) == grpc.StatusCode.OK
    rules = {method: rule for method, rule in PERMISSIONS.items() if method != name}
    monkeypatch.setattr("sumgrad.trainer.service.calls.gate.PERMISSIONS", rules)
    assert call(guarded.channel, name, "", root) == grpc.StatusCode.PERMISSION_DENIED
    assert call(guarded.channel, name, "", None) == grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.slow
def test_a_runner_needs_the_token_of_its_run_and_no_other(
    guarded: RunningService, users: Users, as_: Callable[..., Client], document: dict[str, Any]
) -> None:
    run = as_("ann").submit(document)
    runner = guarded.next_runner()
    assert runner.take().spec == run.info.spec
    admin = users.token("root", Role.ADMIN)
    found = call(guarded.channel, "/sumgrad.trainer.v1.RunnerService/TakeRun", run.id, admin)
    assert found == grpc.StatusCode.PERMISSION_DENIED


def test_two_tokens_in_one_call_are_none(guarded: RunningService, users: Users) -> None:
    stub = service_pb2_grpc.TrainerServiceStub(guarded.channel)
    token = ("authorization", f"Bearer {users.token('ann', Role.ADMIN)}")
    stub.ListRuns(service_pb2.ListRunsRequest(), metadata=[token], timeout=SECONDS)
    with pytest.raises(grpc.RpcError, match="not one 'Bearer"):
        stub.ListRuns(service_pb2.ListRunsRequest(), metadata=[token, token], timeout=SECONDS)


# --- whose runs ---------------------------------------------------------------------------------


@on_both_databases
def test_users_see_and_change_their_own_runs_and_admins_all(
    as_: Callable[..., Client], document: dict[str, Any]
) -> None:
    ann, bob, root = as_("ann"), as_("bob"), as_("root", Role.ADMIN)
    anns, bobs = (client.submit(document, request_id="one") for client in (ann, bob))
    assert (anns.info.owner, bobs.info.owner) == ("ann", "bob")
    assert ann.submit(document, request_id="one").id == anns.id
    assert [run.id for run in ann.list()] == [anns.id]
    assert [run.id for run in as_("ann", Role.VIEWER).list()] == [anns.id]
    assert [run.id for run in root.list()] == [bobs.id, anns.id]
    assert as_("cat").list() == []
    assert [run.id for run in ann.list(id_prefix=anns.id[:10])] == [anns.id]
    assert ann.list(id_prefix=bobs.id) == []
    assert [run.id for run in as_("root2", Role.ADMIN).list(limit=1, name="small")] == [bobs.id]
    root.pause(bobs.id)
    with pytest.raises(NotFoundError):
        ann.cancel(bobs.id)


def test_anothers_run_is_answered_for_like_one_that_does_not_exist(
    as_: Callable[..., Client], document: dict[str, Any]
) -> None:
    ann, run = as_("ann"), as_("bob").submit(document)
    said = []
    for run_id in (run.id, "r-00000000"):
        with pytest.raises(NotFoundError) as caught:
            ann.get(run_id)
        said.append(str(caught.value).replace(run_id, "…"))
    assert said[0] == said[1]


def test_a_viewer_is_told_who_it_is_and_what_to_ask_for(
    as_: Callable[..., Client], document: dict[str, Any]
) -> None:
    with pytest.raises(
        NotAllowedError, match="ann has the role viewer here, which may not call SubmitRun"
    ):
        as_("ann", Role.VIEWER).submit(document)


@pytest.mark.parametrize("highest", [0, 5, -1])
def test_a_submitter_may_lower_a_priority_and_not_raise_it_above_the_operators(
    start_service: StartService, users: Users, document: dict[str, Any], highest: int
) -> None:
    limits = {} if highest == 0 else {"max_priority": highest}
    service = start_service(auth=True, **limits)
    with (
        Client(service.address, token=users.token("ann", Role.SUBMITTER)) as ann,
        Client(service.address, token=users.token("root", Role.ADMIN)) as root,
    ):
        for priority in (highest, highest - 1, -(2**31)):
            assert ann.submit(document, priority=priority).info.priority == priority
        known = {run.id for run in ann.list()}
        for priority in (highest + 1, 2**31 - 1):
            with pytest.raises(
                NotAllowedError, match=f"at most {highest} for ann, .* submitter here, got"
            ) as caught:
                ann.submit(document, priority=priority)
            assert caught.value.reason == "PRIORITY_NOT_ALLOWED"
            assert caught.value.metadata == {"field": "priority"}
            assert root.submit(document, priority=priority).info.priority == priority
        assert {run.id for run in ann.list()} == known


@pytest.mark.slow
def test_a_run_keeps_the_priority_of_its_submission(
    start_service: StartService, users: Users, document: dict[str, Any]
) -> None:
    first = start_service(auth=True, max_priority=5)
    token = users.token("ann", Role.SUBMITTER)
    with Client(first.address, token=token) as ann:
        ann.submit(document, priority=5)  # has all CPUs, so the next one waits
        launched = first.launcher.next_launch()
        run = ann.submit(document, request_id="one", priority=5)
    first.stop()
    second = start_service(auth=True, jobs=[launched.job])
    with Client(second.address, token=token) as ann:
        # Asked for again, as after an answer that got lost.
        assert ann.submit(document, request_id="one", priority=5).id == run.id
        with pytest.raises(RequestConflictError):
            ann.submit(document, request_id="one", priority=6)
        ann.pause(run.id)
        assert ann.resume(run.id).priority == 5


def test_without_authentication_everybody_is_the_admin_without_a_name(
    service: RunningService, document: dict[str, Any]
) -> None:
    run = service.client.submit(document, priority=2**31 - 1)
    assert (run.info.owner, run.info.priority) == ("", 2**31 - 1)
    assert [found.id for found in service.client.list()] == [run.id]


# --- tokens that end ----------------------------------------------------------------------------


def test_a_revoked_token_is_believed_for_two_seconds_at_most(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = users.token("ann", Role.VIEWER)
    metadata = [("authorization", f"Bearer {token}")]
    known = authentication.Authenticator(users.tokens)
    clock = [100.0]
    monkeypatch.setattr(authentication.time, "monotonic", lambda: clock[0])
    assert asyncio.run(known.caller(metadata)) == Caller("ann", Role.VIEWER)
    users.revoke(token)
    clock[0] += 1.99
    assert asyncio.run(known.caller(metadata)) == Caller("ann", Role.VIEWER)
    clock[0] += 0.01
    with pytest.raises(authentication.NotAuthenticatedError, match="was revoked"):
        asyncio.run(known.caller(metadata))
    known.close()
    assert authentication.FRESH_SECONDS == 2


def test_a_token_is_looked_up_while_other_work_holds_every_thread(users: Users) -> None:
    metadata = [("authorization", f"Bearer {users.token('ann', Role.VIEWER)}")]
    known, go_on = authentication.Authenticator(users.tokens), threading.Event()

    async def look_up() -> Caller:
        only = ThreadPoolExecutor(1)
        only.submit(go_on.wait, SECONDS)
        asyncio.get_running_loop().set_default_executor(only)
        try:
            async with asyncio.timeout(SECONDS / 2):
                return await known.caller(metadata)
        finally:
            go_on.set()

    assert asyncio.run(look_up()).user == "ann"
    known.close()


def test_a_token_expires_to_the_microsecond_also_while_it_is_believed(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, stored = new_token("ann", Role.VIEWER, 1_000_000, HOUR)
    users.tokens.add(stored)
    metadata = [("authorization", f"Bearer {text}")]
    known = authentication.Authenticator(users.tokens)
    monkeypatch.setattr(authentication.time, "time_ns", lambda: (1_000_000 + HOUR) * 1000 - 1)
    assert asyncio.run(known.caller(metadata)).user == "ann"
    monkeypatch.setattr(authentication.time, "time_ns", lambda: (1_000_000 + HOUR) * 1000)
    with pytest.raises(authentication.NotAuthenticatedError, match="has expired"):
        asyncio.run(known.caller(metadata))
    known.close()


def test_a_stream_ends_when_its_token_does(
    guarded: RunningService, users: Users, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "FRESH_SECONDS", 0.0)
    token = users.token("ann", Role.SUBMITTER)
    with Client(guarded.address, token=token) as client:
        run = client.submit(document)
        runner = guarded.next_runner()
        runner.take()
        watched = client.watch(run.id)
        next(watched)
        users.revoke(token)
        runner.report(progress=run_pb2.Progress(step=1))
        with pytest.raises(NotAuthenticatedError, match="was revoked"):
            next(watched)


@on_both_databases
def test_the_store_has_no_secret(users: Users, store_url: str | None, tmp_path: Path) -> None:
    token = users.token("ann", Role.ADMIN, HOUR)
    [stored] = users.tokens.list()
    secret = token.rsplit("_", 1)[1]
    assert len(bytes.fromhex(secret)) == 32
    assert secret not in repr(stored)
    assert bytes.fromhex(secret) not in stored.digest
    assert stored.is_of(secret)
    assert not stored.is_of(secret[:-1] + ("0" if secret[-1] != "0" else "1"))
    assert stored.expires == stored.created + HOUR
    assert not users.tokens.revoke("0" * 12, 5)
    assert users.tokens.revoke(stored.id, 5)
    assert users.tokens.revoke(stored.id, 6)
    assert users.tokens.get(stored.id) == stored._replace(revoked=5)


def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["sumgrad", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, out, err


@pytest.mark.slow
@on_both_databases
def test_tokens_are_made_listed_and_revoked_by_command(
    tmp_path: Path,
    store_url: str | None,
    start_service: StartService,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SUMGRAD_STATE", str(tmp_path / "state"))
    if store_url is not None:
        monkeypatch.setenv("SUMGRAD_STORE", store_url)
    create = ("token", "create", "--user", "ann", "--role", "viewer", "--expires", "30d")
    code, out, err = command(monkeypatch, capsys, *create)
    token = out.strip()
    assert code == ExitCode.OK
    assert token not in err
    _, out, _ = command(monkeypatch, capsys, "token", "list", "--json")
    [row] = json.loads(out)
    assert (row["user"], row["role"], row["state"]) == ("ann", "viewer", "valid")
    assert token.split("_")[2] not in out
    service = start_service(auth=True)
    monkeypatch.setenv("SUMGRAD_TOKEN", token)
    assert command(monkeypatch, capsys, "list", "--address", service.address)[0] == ExitCode.OK
    assert command(monkeypatch, capsys, "token", "revoke", row["id"])[0] == ExitCode.OK
    _, out, _ = command(monkeypatch, capsys, "token", "list")
    assert row["id"] in out
    assert "revoked" in out

    def refused() -> str:
        return command(monkeypatch, capsys, "list", "--address", service.address)[2]

    assert "was revoked" in eventually(refused)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "--user", "a b", "--role", "viewer"), "--user must be"),
        (("create", "--user", "", "--role", "viewer"), "--user must be"),
        (("create", "--user", "ann", "--role", "viewer", "--expires", "0d"), "--expires must be"),
        (("create", "--user", "ann", "--role", "viewer", "--expires", "9999d"), "--expires must"),
        (("create", "--user", "ann", "--role", "root"), "'root' is not one of"),
        (("revoke", "sgt_secret"), "there is no token of this id"),
    ],
    ids=lambda value: str(value)[-40:],
)
def test_what_no_token_can_have_is_refused_in_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.setenv("SUMGRAD_STATE", str(tmp_path))
    code, out, err = command(monkeypatch, capsys, "token", *arguments)
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert said in err
    assert "sgt_secret" not in err


# --- the client's token -------------------------------------------------------------------------


def test_a_token_goes_only_over_tls_or_to_loopback() -> None:
    token, _ = new_token("ann", Role.VIEWER, 0, None)
    for address in ("127.0.0.1:1", "[::1]:1", "localhost:1"):
        assert Connection.of(address, token, environment={}).credentials is None
    for address in ("192.0.2.1:1", "example.org:1", "0.0.0.0:1", "127.0.0.1.example.org:1"):
        assert Connection.of(address, token, environment={}).credentials is not None


def test_a_token_is_read_from_the_environment_or_a_file_and_never_shown(tmp_path: Path) -> None:
    token, _ = new_token("ann", Role.VIEWER, 0, None)
    file = tmp_path / "token"
    file.write_text(token + "\n")
    for environment in (
        {"SUMGRAD_TOKEN": token},
        {"SUMGRAD_TOKEN_FILE": str(file)},
        {"SUMGRAD_TOKEN": token, "SUMGRAD_TOKEN_FILE": "/nowhere"},
    ):
        found = Connection.of("127.0.0.1:1", environment=environment)
        assert found.token == token
        assert token not in repr(found)
    assert Connection.of("127.0.0.1:1", "", environment={"SUMGRAD_TOKEN": token}).token == ""


@pytest.mark.parametrize("token", ["password", "sgt_0_password", "sgt_a\nb", "Bearer x", "ü"])
def test_what_is_no_token_is_not_sent_and_not_shown(tmp_path: Path, token: str) -> None:
    file = tmp_path / "token"
    file.write_text(token)
    for environment in ({"SUMGRAD_TOKEN": token}, {"SUMGRAD_TOKEN_FILE": str(file)}):
        with pytest.raises(UsageError, match="is not a token") as caught:
            Connection.of("127.0.0.1:1", environment=environment)
        assert token not in str(caught.value)


def test_asyncio_sends_the_token_with_both_kinds_of_call(
    guarded: RunningService, users: Users, document: dict[str, Any]
) -> None:
    token = users.token("ann", Role.SUBMITTER)
    with Client(guarded.address, token=token) as client:
        run = client.submit(document)

    async def ask() -> tuple[run_pb2.Run, run_pb2.Run]:
        async with Connection.of(guarded.address, token, environment={}).aio_channel() as channel:
            stub = service_pb2_grpc.TrainerServiceStub(channel)
            got = await stub.GetRun(service_pb2.GetRunRequest(id=run.id), timeout=SECONDS)
            watched = stub.WatchRun(service_pb2.WatchRunRequest(id=run.id), timeout=SECONDS)
            first = await watched.read()
            watched.cancel()
            return got.run, first.snapshot.run

    assert [found.id for found in asyncio.run(ask())] == [run.id, run.id]


# --- what needs no token ------------------------------------------------------------------------


def test_health_is_open_and_can_be_watched(guarded: RunningService) -> None:
    health = health_pb2_grpc.HealthStub(guarded.channel)
    request = health_pb2.HealthCheckRequest(service="sumgrad.trainer.v1.TrainerService")
    watched = health.Watch(request, timeout=SECONDS)
    assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
    watched.cancel()
    with Client(guarded.address, token="") as client:
        assert client.reachable()


@pytest.mark.slow
@pytest.mark.parametrize("reflection", [True, False])
def test_reflection_can_be_off(start_service: StartService, reflection: bool) -> None:
    service = start_service(reflection=reflection)
    name = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    code = call(service.channel, name, "", None)
    assert code == (grpc.StatusCode.OK if reflection else grpc.StatusCode.UNIMPLEMENTED)


# --- TLS ----------------------------------------------------------------------------------------


@contextmanager
def channel_to(
    service: RunningService, authority: Authority, own: Pair | None = None
) -> Iterator[grpc.Channel]:
    files = {"ca": authority.own.certificate}
    if own is not None:
        files |= {"certificate": own.certificate, "key": own.key}
    channel = Connection.of(service.address, "", environment={}, **files).channel()
    with channel:
        yield channel


def test_a_service_with_tls_is_reached_by_who_trusts_its_ca(
    start_service: StartService,
    users: Users,
    authority: Authority,
    other_authority: Authority,
    server_pair: Pair,
    document: dict[str, Any],
) -> None:
    service = start_service(
        address="0.0.0.0:0", tls_cert=server_pair.certificate, tls_key=server_pair.key
    )
    address = service.address.replace("0.0.0.0", "localhost")
    token = users.token("ann", Role.SUBMITTER)
    with Client(address, token=token, ca=authority.own.certificate) as client:
        run = client.submit(document)
        assert client.get(run.id).owner == "ann"
    with (
        Client(address, token="", ca=authority.own.certificate) as client,
        pytest.raises(NotAuthenticatedError, match="asks for a token"),
    ):
        client.get(run.id)
    with (
        Client(address, token=token, ca=other_authority.own.certificate) as client,
        pytest.raises(UnreachableError, match="no certificate that is trusted here"),
    ):
        client.get(run.id)
    with Client(address, token="") as client, pytest.raises(UnreachableError):
        client.get(run.id)
    # The runner calls where the service says, and trusts this one certificate.
    launch = service.launcher.next_launch()
    environment = launch.environment()
    assert launch.service.startswith("0.0.0.0:")
    upstream = ServiceUpstream(environment)
    assert upstream.take().spec == run.info.spec
    upstream.close()
    other = other_authority.issue("server").certificate.read_text()
    upstream = ServiceUpstream(environment | {"SUMGRAD_SERVICE_CERTIFICATE": other})
    upstream.add(runner_pb2.RunReport(progress=run_pb2.Progress(step=1)))
    assert upstream.send_and_wait() is None
    upstream.close()


def test_with_a_client_ca_callers_need_a_certificate_and_runners_do_not(
    start_service: StartService,
    users: Users,
    authority: Authority,
    other_authority: Authority,
    server_pair: Pair,
    document: dict[str, Any],
) -> None:
    service = start_service(
        auth=True,
        tls_cert=server_pair.certificate,
        tls_key=server_pair.key,
        tls_client_ca=authority.own.certificate,
        runner_address="127.0.0.1:0",
    )
    mine, others = authority.issue("ann", ""), other_authority.issue("ann", "")
    token = users.token("ann", Role.SUBMITTER)
    ca = authority.own.certificate
    with Client(
        service.address, token=token, ca=ca, certificate=mine.certificate, key=mine.key
    ) as client:
        run = client.submit(document)
    for own in (None, others):
        with channel_to(service, authority, own) as channel:
            name = "/sumgrad.trainer.v1.TrainerService/GetRun"
            assert call(channel, name, run.id, token) == grpc.StatusCode.UNAVAILABLE
    launch = service.launcher.next_launch()
    assert launch.service != service.address
    upstream = ServiceUpstream(launch.environment())
    assert upstream.take().spec == run.info.spec
    upstream.close()
    with channel_to(service, authority, mine) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            PlayedRunner(launch, channel).take()
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    with (
        Client(launch.service, token=token, ca=ca) as client,
        pytest.raises(ClientError, match=r"(?i)method not found"),
    ):
        client.get(run.id)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:7433", "example.org:1"])
@pytest.mark.parametrize("option", ["address", "metrics_address", "runner_address"])
def test_what_other_machines_reach_needs_tls(tmp_path: Path, address: str, option: str) -> None:
    given: dict[str, Any] = {"address": "127.0.0.1:0", option: address}
    with pytest.raises(UsageError, match="can be reached from other machines, which needs TLS"):
        Service(Settings(state=tmp_path, **given))


@pytest.mark.slow
def test_metrics_that_other_machines_reach_are_encrypted(
    start_service: StartService, authority: Authority, server_pair: Pair
) -> None:
    service = start_service(
        metrics_address="0.0.0.0:0", tls_cert=server_pair.certificate, tls_key=server_pair.key
    )
    url = service.metrics_url.replace("0.0.0.0", "localhost")
    context = ssl.create_default_context(cafile=authority.own.certificate)
    with urllib.request.urlopen(url, timeout=SECONDS, context=context) as response:
        assert b"sumgrad_runs" in response.read()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("key", "cannot be used together"),
        ("missing", "--tls-cert .* cannot be read"),
        ("text", "is not a certificate"),
        ("nameless", "names no host; make one with a subjectAltName"),
        ("client_ca", "--tls-client-ca .* is not a certificate"),
        ("runner_address", "--tls-client-ca needs --runner-address too"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_refused_before_anything_listens(
    tmp_path: Path, authority: Authority, server_pair: Pair, wrong: str, said: str
) -> None:
    text = tmp_path / "text"
    text.write_text("text")
    cert, key = server_pair.certificate, server_pair.key
    nameless = authority.issue("nameless", "")
    files = {
        "key": (cert, nameless.key),
        "missing": (tmp_path / "nowhere", key),
        "text": (text, key),
        "nameless": (nameless.certificate, nameless.key),
        "client_ca": (cert, key, text),
        "runner_address": (cert, key, authority.own.certificate),
    }[wrong]
    runners = None if wrong == "runner_address" else "127.0.0.1:0"
    given = dict(zip(("tls_cert", "tls_key", "tls_client_ca"), files, strict=False))
    with pytest.raises(UsageError, match=said):
        Service(Settings(state=tmp_path, runner_address=runners, **given))


# --- the audit log ------------------------------------------------------------------------------


def lines(tmp_path: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in (tmp_path / "state" / "audit.jsonl").read_text().splitlines()
    ]


def test_every_change_and_every_refusal_leaves_a_line_without_secrets(
    guarded: RunningService,
    users: Users,
    as_: Callable[..., Client],
    document: dict[str, Any],
    tmp_path: Path,
) -> None:
    ann, bob, viewer = as_("ann"), as_("bob"), as_("eve", Role.VIEWER)
    run = ann.submit(document)
    ann.get(run.id)
    with pytest.raises(NotFoundError):
        bob.get(run.id)
    with pytest.raises(NotAllowedError):
        viewer.submit(document, request_id="")
    ann.cancel(run.id)
    name = "/sumgrad.trainer.v1.TrainerService/DeleteRun"
    call(guarded.channel, name, "r-\x00\x1b[31m\x7f\x9b" + "x" * 500, "sgt_0_secret")
    found = eventually(lambda: lines(tmp_path) if len(lines(tmp_path)) == 5 else None)
    assert [
        (line["user"], line["role"], line["method"].rpartition("/")[2], line["outcome"])
        for line in found
    ] == [
        ("ann", "submitter", "SubmitRun", "OK"),
        ("bob", "submitter", "GetRun", "NOT_FOUND"),
        ("eve", "viewer", "SubmitRun", "PERMISSION_DENIED"),
        ("ann", "submitter", "CancelRun", "OK"),
        ("", "", "DeleteRun", "UNAUTHENTICATED"),
    ]
    assert [line["run"] for line in found[:4]] == [run.id, run.id, "", run.id]
    assert len(found[4]["run"]) == 200
    assert all(re.fullmatch(r"ipv4:127\.0\.0\.1:\d+", line["peer"]) for line in found)
    file = tmp_path / "state" / "audit.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    content = file.read_text()
    assert all(character.isprintable() or character == "\n" for character in content)
    assert "secret" not in content
    assert not any(token.digest.hex() in content for token in users.tokens.list())
    assert "sgt_" not in content


def test_a_flood_of_callers_without_a_token_cannot_fill_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").mkdir()
    clock = [100.0]
    monkeypatch.setattr(audit.time, "monotonic", lambda: clock[0])
    log = audit.Audit(tmp_path / "state")

    def event(user: str, role: str) -> None:
        log.event(user=user, role=role, method="/m", run="", peer="p", outcome="X")

    for _ in range(1000):
        event("", "")
    event("ann", "viewer")
    clock[0] += 1
    event("", "")
    found = lines(tmp_path)
    assert len(found) == audit.MAX_REFUSALS_PER_SECOND + 3
    assert found[audit.MAX_REFUSALS_PER_SECOND]["user"] == "ann"
    assert found[-2]["count"] == 1000 - audit.MAX_REFUSALS_PER_SECOND


def test_a_call_is_answered_also_when_its_line_cannot_be_written(
    service: RunningService, document: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "state" / "audit.jsonl").mkdir()
    assert service.client.submit(document).id
