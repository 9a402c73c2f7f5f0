"""Snapshots written in a thread of their own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sumgrad.layers.base.arrays import Array
from sumgrad.trainer.snapshots.background_writer import BackgroundWriter, Outcome
from sumgrad.trainer.snapshots.snapshot import Snapshot, SnapshotError
from sumgrad.trainer.snapshots.snapshot_store import SnapshotStore

from support.leftovers import nothing_left_behind
from support.snapshot_folders import store_at
from support.snapshot_samples import assert_same, damaged_copies, sample
from support.waiting import SECONDS


class HeldStore(SnapshotStore):
    """Saves when the test lets it.

    Attributes:
        arrays: what each save was given.
        error: raised by the next saves.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), 2)
        self.go = threading.Semaphore(0)
        self.arrays: list[dict[str, Array]] = []
        self.error: Exception | None = None
        self._running = threading.Lock()

    def save(self, snapshot: Snapshot) -> None:
        assert self._running.acquire(blocking=False), "two saves at once"
        self.arrays.append(snapshot.arrays)
        try:
            assert self.go.acquire(timeout=SECONDS)
            if self.error is not None:
                raise self.error
            super().save(snapshot)
        finally:
            self._running.release()


def outcome(writer: BackgroundWriter) -> Outcome:
    """Of the save in progress."""
    assert writer._thread is not None
    writer._thread.join(SECONDS)
    found = writer.finished()
    assert found is not None
    return found


@pytest.fixture
def held(folder: Path) -> Iterator[tuple[HeldStore, BackgroundWriter]]:
    with nothing_left_behind():
        store = HeldStore(folder)
        writer = BackgroundWriter(store)
        yield store, writer
        store.go.release(10)
        assert writer.close(SECONDS)


def test_what_was_offered_is_saved_whatever_the_caller_does_afterwards(
    held: tuple[HeldStore, BackgroundWriter],
) -> None:
    store, writer = held
    given = sample(1)
    assert writer.offer(given.step, given.arrays, given.document)
    for array in given.arrays.values():
        array[...] = -1
    given.document["history"].append("more")
    given.arrays.clear()
    store.go.release()
    assert outcome(writer) == Outcome(1, None)
    found, _ = store.latest()
    assert found is not None
    assert_same(found, sample(1))


def test_nothing_is_copied_while_a_save_is_in_progress(
    held: tuple[HeldStore, BackgroundWriter],
) -> None:
    store, writer = held
    arrays = {"w": np.ones(3, np.float32)}
    assert writer.offer(1, arrays, {})
    assert writer.finished() is None
    arrays["w"][:] = 2
    assert not writer.offer(2, arrays, {})
    assert store.arrays[0]["w"].tolist() == [1, 1, 1]
    store.go.release()
    assert outcome(writer) == Outcome(1, None)
    assert writer.finished() is None
    assert store.steps() == [1]


def test_copies_are_used_again(held: tuple[HeldStore, BackgroundWriter]) -> None:
    store, writer = held
    store.go.release(3)
    for step in (1, 2):
        assert writer.offer(step, {"w": np.full(3, step, np.float32)}, {})
        assert outcome(writer).error is None
    first, second = (arrays["w"] for arrays in store.arrays)
    assert first is second
    assert writer.offer(3, {"w": np.zeros(4, np.float32)}, {})
    assert outcome(writer).error is None
    found, _ = store.latest()
    assert found is not None
    assert found.arrays["w"].shape == (4,)


@pytest.mark.parametrize("error", [SnapshotError("full"), RuntimeError("a mistake")], ids=repr)
def test_an_error_is_collected_and_the_next_save_works(
    held: tuple[HeldStore, BackgroundWriter], error: Exception
) -> None:
    store, writer = held
    store.error = error
    store.go.release()
    assert writer.offer(1, {}, {})
    assert outcome(writer) == Outcome(1, error)
    store.error = None
    store.go.release()
    assert writer.offer(2, {}, {})
    assert outcome(writer) == Outcome(2, None)


def test_outcomes_that_nobody_asked_for_are_not_lost(
    held: tuple[HeldStore, BackgroundWriter],
) -> None:
    store, writer = held
    store.go.release(2)
    for step in (1, 2):
        assert writer.offer(step, {}, {})
        assert writer._thread is not None
        writer._thread.join(SECONDS)
    assert [writer.finished(), writer.finished()] == [Outcome(1, None), Outcome(2, None)]
    assert writer.finished() is None


def test_closing_waits_for_the_save_but_not_for_ever(
    held: tuple[HeldStore, BackgroundWriter],
) -> None:
    store, writer = held
    assert writer.offer(1, {}, {})
    assert not writer.close(0)
    assert not writer.offer(2, {}, {})
    store.go.release()
    assert writer.close(SECONDS)
    assert writer.finished() == Outcome(1, None)
    assert not writer.offer(3, {}, {})
    assert store.steps() == [1]


def test_a_writer_without_work_closes_at_once(folder: Path) -> None:
    writer = BackgroundWriter(store_at(folder))
    assert writer.finished() is None
    assert writer.close(0)
    assert not folder.exists()


def test_damaged_copies_differ_in_one_bit() -> None:
    """The checker of the tests above."""
    contents = [bytes(50), bytes(range(50))]
    seen = set()
    for which, content in damaged_copies(contents, 200, seed=1):
        differing = [a ^ b for a, b in zip(content, contents[which], strict=True) if a != b]
        assert len(differing) == 1
        assert differing[0].bit_count() == 1
        seen.add(which)
    assert seen == {0, 1}
