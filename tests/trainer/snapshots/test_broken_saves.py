"""A save that fails or is killed at any call leaves the newest good snapshot in place."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sumgrad.trainer.snapshots.snapshot import SnapshotError

from support.snapshot_folders import files, store_at
from support.snapshot_samples import LOOP, LOOP_SIZE, assert_same, sample


class KilledError(BaseException):
    """In the place of SIGKILL."""


CALLS = ("open", "write", "fsync", "replace", "unlink", "mkdir")


@contextmanager
def failing(at: int, effect: Callable[[], BaseException], for_ever: bool) -> Iterator[list[str]]:
    """Let the n-th call that changes the disk fail; yields the calls that were made.

    Args:
        for_ever: every later one fails as well, as if the process were dead.
    """
    made: list[str] = []

    def shim(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            made.append(name)
            if len(made) == at or (for_ever and len(made) > at):
                if name == "write" and len(made) == at:
                    descriptor, piece = args
                    real(descriptor, piece[: len(piece) // 2])
                raise effect()
            return real(*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, shim(name, getattr(os, name)))
        yield made


def calls_of_a_save(folder: Path, keep: int) -> list[str]:
    """What a save that goes well does to the disk."""
    store = store_at(folder, keep)
    for step in range(1, 3):
        store.save(sample(step))
    with failing(0, KilledError, for_ever=False) as made:
        store.save(sample(3))
    return made


def test_a_save_makes_the_calls_that_the_following_tests_let_fail(folder: Path) -> None:
    made = calls_of_a_save(folder, keep=2)
    assert set(made) == set(CALLS) - {"mkdir"}
    assert made.count("replace") == 2
    assert made.count("unlink") == 2


@pytest.mark.slow
@pytest.mark.parametrize("keep", [1, 2])
def test_a_process_killed_at_any_call_leaves_the_newest_good_one(tmp_path: Path, keep: int) -> None:
    count = len(calls_of_a_save(tmp_path / "whole", keep))
    for at in range(1, count + 1):
        folder = tmp_path / str(at)
        for step in (1, 2):
            store_at(folder, keep).save(sample(step))
        with failing(at, KilledError, for_ever=True) as made, pytest.raises(KilledError):
            store_at(folder, keep).save(sample(3))
        assert len(made) >= at

        found, problems = store_at(folder, keep).latest()
        assert found is not None
        # The second replace is the manifest's.
        assert_same(found, sample(3 if made[: at - 1].count("replace") == 2 else 2))
        assert problems == []

        store_at(folder, keep).save(sample(4))
        found, problems = store_at(folder, keep).latest()
        assert found is not None
        assert_same(found, sample(4))
        assert problems == []
        assert len(files(folder)) == 2 * keep, "something is left of the save that was killed"


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("keep", [1, 2])
def test_a_full_disk_at_any_call_leaves_the_newest_good_one_and_nothing_partial(
    tmp_path: Path, keep: int, number: int
) -> None:
    def error() -> OSError:
        return OSError(number, os.strerror(number))

    count = len(calls_of_a_save(tmp_path / "whole", keep))
    for at in range(1, count + 1):
        folder = tmp_path / str(at)
        store = store_at(folder, keep)
        for step in (1, 2):
            store.save(sample(step))
        before = files(folder)
        with (
            failing(at, error, for_ever=False) as made,
            pytest.raises(SnapshotError, match=os.strerror(number)) as caught,
        ):
            store.save(sample(3))
        assert str(folder) in str(caught.value)

        manifest_is_there = made[: at - 1].count("replace") == 2
        if not manifest_is_there:
            assert "was not saved" in str(caught.value)
            assert files(folder) == before
        found, problems = store.latest()
        assert found is not None
        assert_same(found, sample(3 if manifest_is_there else 2))
        assert problems == []

        store.save(sample(4))
        assert len(files(folder)) == 2 * keep


def test_a_disk_that_stays_broken_endangers_nothing(folder: Path) -> None:
    store = store_at(folder)
    store.save(sample(1))
    with (
        failing(1, lambda: OSError(errno.EROFS, "Read-only file system"), for_ever=True),
        pytest.raises(SnapshotError, match="Read-only file system"),
    ):
        store.save(sample(2))
    found, problems = store.latest()
    assert found is not None
    assert (found.step, problems) == (1, [])


@pytest.mark.slow
def test_a_full_disk_while_a_snapshot_is_saved_again_does_not_harm_it(folder: Path) -> None:
    store = store_at(folder, 1)
    store.save(sample(1))
    with failing(0, KilledError, for_ever=False) as made:
        store.save(sample(1))
    for at in range(1, len(made) + 1):
        with (
            failing(at, lambda: OSError(errno.ENOSPC, "full"), for_ever=False),
            pytest.raises(SnapshotError, match="full"),
        ):
            store.save(sample(1))
        found, problems = store.latest()
        assert found is not None
        assert_same(found, sample(1))
        assert problems == []


def test_what_a_name_stands_for_is_on_the_disk_before_the_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No loss of power may leave a manifest without its arrays."""
    store = store_at(folder, 1)
    store.save(sample(1))
    events: list[str] = []

    def target(descriptor: int) -> str:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        return "folder" if path == folder else path.suffixes[0]

    def watch(name: str, what: Callable[..., str]) -> None:
        real = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            event = f"{name} {what(args[0])}"
            if event not in events[-1:]:
                events.append(event)
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, call)

    watch("write", target)
    watch("fsync", target)
    watch("replace", lambda path: Path(path).suffixes[0])
    watch("unlink", lambda path: Path(path).suffixes[0])
    store.save(sample(2))
    assert events == [
        "write .safetensors",
        "fsync .safetensors",
        "replace .safetensors",
        "fsync folder",
        "write .json",
        "fsync .json",
        "replace .json",
        "fsync folder",
        "unlink .json",
        "fsync folder",
        "unlink .safetensors",
        "fsync folder",
    ]


def test_a_new_folder_is_on_the_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, fsync = [], os.fsync

    def watch(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    store_at(tmp_path / "a" / "b").save(sample(1))
    assert synced[:2] == [tmp_path, tmp_path / "a"]


@pytest.mark.slow
@pytest.mark.parametrize("lines", [1, 2, 3, 5, 8, 13])
def test_a_process_that_is_really_killed_leaves_the_newest_good_one(
    folder: Path, lines: int
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LOOP, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process:
        steps = [int(process.stdout.readline()) for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        steps += [int(line) for line in process.stdout.read().splitlines()]
    assert process.returncode == -signal.SIGKILL

    store = store_at(folder)
    found, problems = store.latest()
    assert found is not None
    assert_same(found, sample(found.step, size=LOOP_SIZE))
    assert found.step in (steps[-1], steps[-1] + 1)
    assert problems == []
    store.save(sample(found.step + 1))
    assert len(files(folder)) == 4
