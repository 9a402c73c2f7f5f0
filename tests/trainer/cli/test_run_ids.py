"""Runs named by the beginning of an id, or as ``latest``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sumgrad.trainer.cli.exit_codes import ExitCode
from sumgrad.trainer.cli.run_ids import find_run
from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.v1 import run_pb2

from support.command_line import Sumgrad
from support.services import RunningService


class PlayedClient:
    """Lists runs of these ids, newest first."""

    def __init__(self, *ids: str) -> None:
        self._ids = ids
        self.calls = 0

    def list(self, limit: int, *, id_prefix: str = "") -> list[run_pb2.Run]:
        self.calls += 1
        return [run_pb2.Run(id=id) for id in self._ids if id.startswith(id_prefix)][:limit]


def find(name: str, *ids: str) -> str:
    return find_run(PlayedClient(*ids), name)  # type: ignore[arg-type]


A, B = "r-1a2b3c4d5e6f7a8b", "r-1a2f000000000000"


def test_the_beginning_of_one_id_is_that_run() -> None:
    assert find("r-1a2b", A, B) == A
    assert find("r-1a2f", A, B) == B


def test_latest_is_the_newest_run() -> None:
    assert find("latest", B, A) == B
    with pytest.raises(UsageError, match="there is no run yet; submit one"):
        find("latest")


def test_a_beginning_of_several_ids_is_refused_with_some_of_them() -> None:
    with pytest.raises(UsageError) as caught:
        find("r-1a", A, B)
    assert str(caught.value) == (
        f"several runs begin with 'r-1a', like {A} and {B}; give more of the id"
    )
    many = [f"r-{i:016x}" for i in range(9)]
    with pytest.raises(UsageError, match=f"like {many[0]} and {many[1]} and {many[2]};"):
        find("r-0", *many)


def test_an_id_that_is_also_the_beginning_of_another_is_itself() -> None:
    assert find("r-1a2b3c4d", A, "r-1a2b3c4d") == "r-1a2b3c4d"


@pytest.mark.parametrize("name", [A, "", "r-", "x", "latest2", "r-1A", "r-1a2b3c4d5e6f7a8bc"])
def test_a_whole_id_and_what_is_no_id_are_left_to_the_next_call(name: str) -> None:
    client = PlayedClient(A, B)
    assert find_run(client, name) == name  # type: ignore[arg-type]
    assert client.calls == 0


def test_the_beginning_of_no_id_is_left_to_the_next_call() -> None:
    assert find("r-f", A, B) == "r-f"


@pytest.mark.slow
def test_every_verb_that_takes_a_run_takes_latest(
    service: RunningService,
    document: dict[str, Any],
    sumgrad: Sumgrad,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUMGRAD_ADDRESS", service.address)
    service.client.submit(document)
    run = service.client.submit(document)
    for verb in ("show", "pause", "resume", "cancel"):
        assert sumgrad(verb, "latest", "--json").json()["id"] == run.id
    # Refused for what the run is like, so it was found.
    for verb, *options in (
        ["scale", "--workers", "1"],
        ["weights"],
        ["verify"],
    ):
        ended = sumgrad(verb, "latest", *options)
        assert ended.code == ExitCode.BAD_INPUT
        assert run.id in ended.err
    assert sumgrad("watch", "latest", "--json").json()["id"] == run.id
    assert f"{run.id}" not in sumgrad("logs", "latest", "--source", "nobody").out
    assert sumgrad("delete", run.id[:10]).err == f"{run.id} is deleted\n"
    assert run.id not in sumgrad("show", "latest").out


def test_a_run_that_is_not_there_is_said_as_before(
    service: RunningService, sumgrad: Sumgrad
) -> None:
    ended = sumgrad("show", "r-12", "--address", service.address)
    assert (ended.code, ended.out) == (ExitCode.BAD_INPUT, "")
    assert "there is no run" in ended.err
    assert "r-12" in ended.err
