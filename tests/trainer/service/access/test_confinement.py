"""What a specification may name where the operator has named roots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sumgrad.trainer.client import Client
from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.service.access.caller import Role
from sumgrad.trainer.service.access.confinement import Address, Confinement
from sumgrad.trainer.service.access.token_store import TokenStore
from sumgrad.trainer.service.access.tokens import new_token
from sumgrad.trainer.service.cluster import attempt_policy
from sumgrad.trainer.service.store.database import Database
from sumgrad.trainer.spec.parse import parse
from sumgrad.trainer.spec.violations import InvalidSpecError
from sumgrad.trainer.v1 import run_pb2

from support.services import RunningService, StartService
from support.waiting import eventually

ALLOWED = ("s3://bucket/team/a", "http://store.example.org:8080")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "data-outside"
    folder.mkdir()
    (folder / "secret.npz").write_bytes(b"x")
    return folder


@pytest.fixture
def confinement(data: Path, tmp_path: Path) -> Confinement:
    snapshots = tmp_path / "snapshots"
    snapshots.mkdir()
    return Confinement.of([data], [snapshots], ALLOWED, tmp_path / "state")


Fields = Callable[..., list[str]]


@pytest.fixture
def refused(confinement: Confinement, document: dict[str, Any]) -> Fields:
    """The fields that are refused of a specification which names these."""

    def fields(
        path: object = None, start_from: object = None, location: object = None
    ) -> list[str]:
        spec = document | {"model": dict(document["model"])}
        if path is not None:
            spec["data"] = {"type": "npz", "path": str(path)}
        if start_from is not None:
            spec["model"]["start_from"] = str(start_from)
        if location is not None:
            spec["snapshots"] = {"location": str(location)}
        try:
            confinement.confined(parse(spec))
        except InvalidSpecError as error:
            return [violation.field for violation in error.violations]
        return []

    return fields


def test_built_in_data_needs_no_root(refused: Fields) -> None:
    assert refused() == []


def test_what_lies_under_a_root_is_allowed_where_it_is_for(
    refused: Fields, data: Path, tmp_path: Path
) -> None:
    snapshots = tmp_path / "snapshots"
    assert refused(data / "a" / "b.npz", data / "w.safetensors", snapshots / "new") == []
    assert refused(data, snapshots / "w.json", snapshots) == []
    assert refused(data / "x" / ".." / "a.npz") == []
    assert refused(snapshots / "a.npz", location=data) == ["data.path", "snapshots.location"]


@pytest.mark.parametrize(
    "path",
    [
        "{data}/../data-outside/secret.npz",
        "{data}/a/../../data-outside/secret.npz",
        "{data}-outside/secret.npz",
        "{data}/../../../../../../../../etc/passwd",
        "/etc/passwd",
        "/",
        "relative.npz",
        "data/a.npz",
        "~/a.npz",
        "/proc/self/root{data}/../data-outside/secret.npz",
        "/proc/self/cwd",
        "/dev/fd/0",
        "//etc/passwd",
        "/../etc/passwd",
        "{data}/..",
        "{data}\\..\\data-outside",
        "{data}/a\0.npz",
        "{data}\uff0f..\uff0fdata-outside",
        "{data}\u2215a.npz",
        "file://{data}/a.npz",
        "http://169.254.169.254/latest",
        "",
    ],
)
def test_no_path_leads_out_of_the_root(
    refused: Fields, data: Path, outside: Path, path: str
) -> None:
    named = path.format(data=data)
    assert refused(named) == ["data.path"]
    if named.startswith("/"):
        assert refused(start_from=named, location=named) == [
            "model.start_from",
            "snapshots.location",
        ]


def test_percent_signs_in_paths_mean_nothing(refused: Fields, data: Path, outside: Path) -> None:
    """They are names like any other, and are not decoded by anybody."""
    assert refused(f"{data}/%2e%2e/data-outside") == []
    assert refused(f"{data}%2f..%2fdata-outside") == ["data.path"]


def test_no_link_leads_out_of_the_root(refused: Fields, data: Path, outside: Path) -> None:
    (data / "file.npz").symlink_to(outside / "secret.npz")
    (data / "folder").symlink_to(outside)
    (data / "chain").symlink_to(data / "folder")
    (data / "loop").symlink_to(data / "loop")
    (data / "idx").mkdir()
    (data / "idx" / "train-images-idx3-ubyte").symlink_to(outside / "secret.npz")
    (data / "dangling").symlink_to(outside / "not yet there")
    (data / "w.json").symlink_to(outside / "secret.npz")
    for name in ("file.npz", "folder", "folder/secret.npz", "chain/secret.npz", "idx", "dangling"):
        assert refused(data / name) == ["data.path"], name
    assert refused(start_from=data / "w.safetensors") == ["model.start_from"]
    (data / "inside").symlink_to(data / "plain")
    assert refused(data / "inside") == []


def test_a_root_may_itself_be_reached_by_a_link(
    tmp_path: Path, data: Path, document: dict[str, Any]
) -> None:
    (tmp_path / "link").symlink_to(data)
    confinement = Confinement.of([tmp_path / "link"], [], [], tmp_path / "state")
    for path in (tmp_path / "link" / "a.npz", data / "a.npz"):
        confinement.confined(parse(document | {"data": {"type": "npz", "path": str(path)}}))


def test_addresses_below_an_allowed_one_are_allowed(refused: Fields) -> None:
    for address in (
        "s3://bucket/team/a",
        "s3://bucket/team/a/",
        "s3://bucket/team/a/b/c=1/w.safetensors",
        "http://store.example.org:8080/x",
    ):
        assert refused(start_from=address, location=address) == [], address


@pytest.mark.parametrize(
    "address",
    [
        "s3://bucket/team",
        "s3://bucket/team/ab",
        "s3://bucket/team/a/../b",
        "s3://bucket/team/a/./../../b",
        "s3://bucket/team//a",
        "s3://bucket/team/a//b",
        "s3://bucket/team/a/%2e%2e/b",
        "s3://bucket/team/a%2f..%2fb",
        "s3://bucket/team/a\\..\\b",
        "s3://bucket/team/a?x=1",
        "s3://bucket/team/a#x",
        "s3://bucket/team/a\n",
        "s3://bucket/team/a ",
        "s3://bucket/team/a/*",
        "s3://bucket/team/a/ü",
        "s3://bucket/team/a/\uff0e\uff0e/b",
        "s3://Bucket/team/a",
        "S3://bucket/team/a",
        "s3a://bucket/team/a",
        "s3://key:secret@bucket/team/a",
        "s3://bucket@other/team/a",
        "s3://other/bucket/team/a",
        "s3://bucket.evil.org/team/a",
        "s3:///bucket/team/a",
        "s3:/bucket/team/a://",
        " s3://bucket/team/a",
        "https://store.example.org:8080/x",
        "http://store.example.org/x",
        "http://store.example.org:8080@evil.org/x",
        "http://store.example.org:8080.evil.org/x",
        "http://evil.org/#http://store.example.org:8080/",
        "http://store.example.org:08080/x",
        "http://[::1]:8080/x",
        "http://169.254.169.254/latest/meta-data",
        "http://2852039166/",
        "file:///etc/passwd",
        "local:///etc/passwd",
        "memory://x",
        "simplecache::s3://bucket/team/a",
        "s3://bucket/team/a::http://evil.org/",
        "zip://x::s3://bucket/team/a",
        "filecache://s3://bucket/team/a",
        "s3://bucket/team/a/..",
        "s3://bucket/team/a/.",
        "s3://bucket/team/a;x",
        "s3://bucket/team/a&endpoint_url=http://evil.org",
        "s3://bucket/team/a\t",
        "s3://bucket/team/a/\u00ad..",
        "s3://bucket/team/a/.\u200d./x",
        "s3://bucket./team/a",
        "s3:\\\\bucket\\team\\a",
        "\uff53\uff13://bucket/team/a",
        "http://store.example.org.:8080/x",
        "http://STORE.example.org:8080/x",
        "HTTP://store.example.org:8080/x",
        "http://store\u3002example.org:8080/x",
        "http://store.example.org:808\u0660/x",
        "http://store.example.org:8080/x/http://evil.org",
        "http://store.example.org:8080//evil.org/x",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://[::ffff:127.0.0.1]/",
        "file://localhost/etc/passwd",
        "file:/etc/passwd",
        "FILE:///etc/passwd",
        "file://{data}",
        "//etc/passwd/://",
        "blockcache::s3://bucket/team/a",
        "reference://s3://bucket/team/a",
        "s3://bucket/team/a::file:///etc",
        "{data}/../data-outside://x",
        "{data}://x",
        "{data}/a::http://evil.org/x",
    ],
)
def test_no_trick_makes_an_address_an_allowed_one(
    refused: Fields, data: Path, address: str
) -> None:
    named = address.format(data=data)
    found = refused(start_from=named, location=named)
    assert found in (["model.start_from", "snapshots.location"], ["model", "snapshots"])


@pytest.mark.parametrize("location", ["s3://", "file:///x", "bucket/x", "s3://b/../c", "s3://b?x"])
def test_the_operator_cannot_allow_what_could_be_read_in_two_ways(
    tmp_path: Path, location: str
) -> None:
    assert Address.parse(location) is None
    with pytest.raises(UsageError, match="--allow-location must be like"):
        Confinement.of([], [], [location], tmp_path)


def test_a_root_is_a_folder_apart_from_the_state_folder(tmp_path: Path) -> None:
    state = tmp_path / "a" / "state"
    (state / "runs").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(state)
    for root, said in (
        (tmp_path / "nowhere", "cannot be used"),
        (tmp_path / "file", "is not a folder"),
        (state, "must not lie in each other"),
        (state / "runs", "must not lie in each other"),
        (tmp_path / "a", "must not lie in each other"),
        (tmp_path / "link", "must not lie in each other"),
    ):
        with pytest.raises(UsageError, match=said):
            Confinement.of([root], [], [], state)
        with pytest.raises(UsageError, match=said):
            Confinement.of([], [root], [], state)


# --- in the service -----------------------------------------------------------------------------


def write_npz(path: Path) -> None:
    x, y = np.zeros((64, 4), np.float32), np.arange(64) % 10
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)


def npz(document: dict[str, Any], path: Path) -> dict[str, Any]:
    return document | {"data": {"type": "npz", "path": str(path)}}


def test_a_submission_that_names_something_outside_is_refused_before_anything_is_read(
    start_service: StartService, document: dict[str, Any], data: Path, outside: Path
) -> None:
    service = start_service(data_root=(data,))
    said = set()
    # The answer does not tell whether there is something.
    for name in ("secret.npz", "absent.npz"):
        with pytest.raises(InvalidSpecError) as caught:
            service.client.submit(npz(document, outside / name))
        [violation] = caught.value.violations
        said.add(str(violation).replace(name, "…"))
    [sentence] = said
    assert sentence.startswith(f"data.path: must lie under {data} on this service, got ")
    document["model"]["start_from"] = str(outside / "w.safetensors")
    document["snapshots"] = {"location": str(outside)}
    with pytest.raises(InvalidSpecError) as caught:
        service.client.submit(npz(document, outside / "secret.npz"))
    assert [violation.field for violation in caught.value.violations] == [
        "data.path",
        "model.start_from",
        "snapshots.location",
    ]
    assert service.client.list() == []


def test_with_tokens_and_without_roots_only_built_in_data_is_there(
    start_service: StartService, document: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    write_npz(data / "a.npz")
    service = start_service(auth=True)
    token, stored = new_token("ann", Role.ADMIN, 0, None)
    database = Database(tmp_path / "state" / "runs.db")
    TokenStore(database).add(stored)
    database.close()
    with Client(service.address, token=token) as client:
        with pytest.raises(InvalidSpecError, match="until its operator names a place with --data"):
            client.submit(npz(document, data / "a.npz"))
        assert client.submit(document).id


def test_without_tokens_and_roots_everything_may_be_named(
    service: RunningService, document: dict[str, Any], data: Path
) -> None:
    write_npz(data / "a.npz")
    assert service.client.submit(npz(document, data / "a.npz"), workers=1, set=("train.shards=1",))


@pytest.mark.slow
def test_a_link_that_was_exchanged_after_the_submission_is_noticed_at_the_launch(
    start_service: StartService,
    document: dict[str, Any],
    data: Path,
    outside: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attempt_policy, "CANCEL_SECONDS", 0)
    service = start_service(data_root=(data,))
    write_npz(data / "a.npz")
    submit = {"workers": 1, "set": ("train.shards=1",)}
    blocking = [service.client.submit(document), service.client.submit(document)]
    run = service.client.submit(npz(document, data / "a.npz"), **submit)
    (data / "a.npz").unlink()
    (data / "a.npz").symlink_to(outside / "secret.npz")
    for other in blocking:
        service.next_runner().take()
        service.client.cancel(other.id)
    failed = eventually(
        lambda: (
            found
            if (found := service.client.get(run.id)).state == run_pb2.RUN_STATE_FAILED
            else None
        )
    )
    assert failed.message.startswith("it could not be launched: data.path: must lie under")
    assert service.launcher.launched.empty()
