"""The run store: what was acknowledged stays, in order and without gaps."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trainer.service.store import SCHEMA_VERSION, Store, StoredRun, StoreError
from trainer.v1 import run_pb2


def progress(step: int) -> run_pb2.Event:
    return run_pb2.Event(progress=run_pb2.Progress(step=step))


def change(state: run_pb2.RunState) -> run_pb2.Event:
    return run_pb2.Event(state_change=run_pb2.StateChange(state=state))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "runs.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path)
    store.create(run_pb2.Run(id="r-1"), "service-1")
    yield store
    store.close()


def stored(store: Store, run_id: str = "r-1") -> StoredRun:
    found = store.get(run_id)
    assert found is not None
    return found


def steps(store: Store, run_id: str = "r-1") -> list[tuple[int, int]]:
    return [(event.sequence, event.progress.step) for event in store.events(run_id, 0, 10_000)]


def test_a_new_run_has_no_events(store: Store) -> None:
    run = stored(store)
    assert (run.run.id, run.service, run.sequence, run.reported, run.token) == (
        "r-1",
        "service-1",
        0,
        0,
        "",
    )
    assert steps(store) == []


def test_events_are_numbered_from_1_without_gaps_for_each_run(store: Store) -> None:
    store.create(run_pb2.Run(id="r-2"), "service-1")
    store.append("r-1", [progress(10), progress(11)])
    store.append("r-2", [progress(20)])
    store.append("r-1", [])
    store.append("r-1", [progress(12)])
    assert steps(store) == [(1, 10), (2, 11), (3, 12)]
    assert steps(store, "r-2") == [(1, 20)]


def test_the_run_is_what_its_events_made_of_it(store: Store) -> None:
    running = store.append("r-1", [change(run_pb2.RUN_STATE_RUNNING), progress(4)])
    assert running is not None
    assert (running.run.state, running.run.progress.step) == (run_pb2.RUN_STATE_RUNNING, 4)
    assert running == stored(store)


def test_events_after_the_end_are_dropped_and_take_no_number(store: Store) -> None:
    end = change(run_pb2.RUN_STATE_CANCELLED)
    store.append("r-1", [progress(1), end, progress(2)])
    store.append("r-1", [progress(3), change(run_pb2.RUN_STATE_SUCCEEDED)])
    assert [event.WhichOneof("kind") for event in store.events("r-1", 0, 10)] == [
        "progress",
        "state_change",
    ]
    assert stored(store).sequence == 2
    assert stored(store).run.state == run_pb2.RUN_STATE_CANCELLED
    assert store.open_runs() == []


def test_events_are_read_in_pages(store: Store) -> None:
    store.append("r-1", [progress(step) for step in range(10)])
    assert [event.sequence for event in store.events("r-1", 3, 4)] == [4, 5, 6, 7]
    assert store.events("r-1", 10, 4) == []


def test_nothing_can_happen_to_a_run_that_does_not_exist(store: Store) -> None:
    assert store.append("r-9", [progress(1)]) is None
    assert store.begin_attempt("r-9", "token", progress(1)) is None
    assert store.get("r-9") is None
    assert store.events("r-9", 0, 10) == []


def test_the_number_of_the_last_report_is_kept_until_the_next_attempt(store: Store) -> None:
    store.begin_attempt("r-1", "token-1", change(run_pb2.RUN_STATE_LAUNCHING))
    store.append_reported("r-1", {7: progress(1)})
    store.append("r-1", [progress(2)])
    assert (stored(store).reported, stored(store).token) == (7, "token-1")
    launched = store.begin_attempt("r-1", "token-2", change(run_pb2.RUN_STATE_LAUNCHING))
    assert launched is not None
    assert (launched.reported, launched.token, launched.run.attempt) == (0, "token-2", 2)
    assert launched == stored(store)


def test_a_report_that_comes_again_among_new_ones_happens_once(store: Store) -> None:
    store.append_reported("r-1", {1: progress(1), 3: progress(2)})
    store.append_reported("r-1", {1: progress(1), 3: progress(2), 4: progress(3)})
    assert [event.progress.step for event in store.events("r-1", 0, 10)] == [1, 2, 3]
    assert (stored(store).reported, stored(store).sequence) == (4, 3)


def test_runs_come_newest_first_in_pages(store: Store) -> None:
    for i in range(2, 6):
        store.create(run_pb2.Run(id=f"r-{i}"), "service-1")
    first = store.page(None, 2)
    second = store.page(first[-1].number, 10)
    assert [found.run.id for found in first] == ["r-5", "r-4"]
    assert [found.run.id for found in second] == ["r-3", "r-2", "r-1"]


def test_open_runs_come_oldest_first(store: Store) -> None:
    store.create(run_pb2.Run(id="r-2"), "service-2")
    store.append("r-1", [progress(1)])
    assert [found.run.id for found in store.open_runs()] == ["r-1", "r-2"]


def test_another_service_can_take_over_a_run(store: Store) -> None:
    store.adopt("r-1", "service-2")
    assert stored(store).service == "service-2"


def test_a_run_id_is_given_once(store: Store) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        store.create(run_pb2.Run(id="r-1"), "service-1")
    assert store.append("r-1", [progress(1)]) is not None


def test_what_fails_halfway_leaves_nothing_behind(store: Store) -> None:
    store.append("r-1", [progress(1)])
    with pytest.raises(AttributeError):
        store.append("r-1", [progress(2), None])  # type: ignore[list-item]
    assert steps(store) == [(1, 1)]
    store.append("r-1", [progress(3)])
    assert steps(store) == [(1, 1), (2, 3)]


def test_everything_is_there_after_reopening(store: Store, path: Path) -> None:
    store.begin_attempt("r-1", "token", change(run_pb2.RUN_STATE_LAUNCHING))
    store.append_reported("r-1", {2: progress(1)})
    before, events = stored(store), store.events("r-1", 0, 10)
    store.close()
    again = Store(path)
    assert stored(again) == before
    assert again.events("r-1", 0, 10) == events
    again.close()


def test_two_stores_may_share_a_file(store: Store, path: Path) -> None:
    other = Store(path)
    with ThreadPoolExecutor(2) as pool:
        for each in (store, other):
            pool.submit(lambda each=each: [each.append("r-1", [progress(1)]) for _ in range(20)])
    assert [sequence for sequence, _ in steps(store)] == list(range(1, 41))
    other.close()


def test_threads_that_append_at_once_leave_no_gaps_and_lose_nothing(store: Store) -> None:
    def append(thread: int) -> list[int]:
        found = []
        for i in range(25):
            run = store.append("r-1", [progress(1000 * thread + i)])
            assert run is not None
            found.append(run.sequence)
        return found

    with ThreadPoolExecutor(4) as pool:
        given = [sequence for part in pool.map(append, range(4)) for sequence in part]
    assert sorted(given) == list(range(1, 101))
    assert sorted(step for _, step in steps(store)) == sorted(
        1000 * thread + i for thread in range(4) for i in range(25)
    )


def test_a_store_of_a_newer_version_is_refused_and_left_as_it_is(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    database.close()
    with pytest.raises(StoreError) as caught:
        Store(path)
    assert str(caught.value) == f"{path} was written by a newer sumgrad; use that version"
    database = sqlite3.connect(path)
    assert database.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    database.close()


@pytest.mark.parametrize("content", [b"not a database, but long enough to look like one" * 99])
def test_a_file_that_is_no_database_is_refused(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(StoreError, match="cannot open the run store"):
        Store(path)
    assert path.read_bytes() == content


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot open the run store"):
        Store(tmp_path / "file" / "runs.db")


APPEND_FOR_EVER = """
import sys
from itertools import count
from pathlib import Path

from trainer.service.store import Store
from trainer.v1 import run_pb2

store = Store(Path(sys.argv[1]))
store.create(run_pb2.Run(id="r-1"), "service-1")
for step in count(1):
    event = run_pb2.Event(progress=run_pb2.Progress(step=step))
    print(store.append_reported("r-1", {step: event}).sequence, flush=True)
"""


@pytest.mark.parametrize("acknowledged", [1, 50, 200])
def test_a_process_that_is_killed_loses_nothing_that_was_acknowledged(
    path: Path, acknowledged: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", APPEND_FOR_EVER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(acknowledged):
            assert process.stdout.readline()
        process.kill()
        rest = [line for line in process.stdout if line.endswith("\n")]
    said = acknowledged + len(rest)
    store = Store(path)
    found = steps(store)
    # What was under way when it was killed may be there or not.
    assert len(found) in (said, said + 1)
    assert found == [(i, i) for i in range(1, len(found) + 1)]
    run = stored(store)
    assert (run.sequence, run.reported, run.run.progress.step) == (len(found),) * 3
    store.close()
