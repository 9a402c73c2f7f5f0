"""The run store on both databases: what was acknowledged stays, in order and without gaps."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from sumgrad.trainer.service.api.run_errors import NotPausedError
from sumgrad.trainer.service.api.run_filter import RunFilter
from sumgrad.trainer.service.runs import transitions
from sumgrad.trainer.service.runs.stored_run import StoredRun
from sumgrad.trainer.service.runs.transitions import Change, Transition
from sumgrad.trainer.service.store.database import Database, has_password
from sumgrad.trainer.service.store.run_store import RequestConflictError, RunNotEndedError, RunStore
from sumgrad.trainer.service.store.schema import REVISION
from sumgrad.trainer.service.store.store_errors import StoreError, StoreUnavailableError
from sumgrad.trainer.service.takeover.file_locks import FileLocks
from sumgrad.trainer.service.takeover.locks import Locks
from sumgrad.trainer.service.takeover.postgres_locks import PostgresLocks
from sumgrad.trainer.v1 import run_pb2, runner_pb2

from support.postgres_server import PostgresServer
from support.services import append
from support.waiting import eventually

SUCCEEDED = run_pb2.RUN_STATE_SUCCEEDED
QUEUED = run_pb2.RUN_STATE_QUEUED
LAUNCHING = run_pb2.RUN_STATE_LAUNCHING
CANCELLED = run_pb2.RUN_STATE_CANCELLED


def progress(step: int) -> run_pb2.Event:
    return run_pb2.Event(progress=run_pb2.Progress(step=step))


def change(state: run_pb2.RunState) -> run_pb2.Event:
    return run_pb2.Event(state_change=run_pb2.StateChange(state=state))


def launch(store: RunStore, service: str = "service-1", token: str = "token") -> Change:
    return happen(store, lambda now: transitions.launch(now, service, token))


def report(store: RunStore, steps: dict[int, int], attempt: int = 1, token: str = "token") -> None:
    """The runner of an attempt is at these steps, by the number of the report that says so."""
    reports = {
        number: runner_pb2.RunReport(number=number, progress=run_pb2.Progress(step=step))
        for number, step in steps.items()
    }
    happen(store, lambda now: transitions.report(now, attempt, token, reports))


def adopt(store: RunStore, gone: str, service: str, over: bool = False) -> Change:
    return happen(store, lambda now: transitions.adopt(now, gone, service, over))


def happen(store: RunStore, transition: Transition) -> Change:
    change = store.change("r-1", transition)
    assert change is not None
    return change


@pytest.fixture
def store(place: Path | str) -> Iterator[RunStore]:
    store = RunStore(place)
    store.create(run_pb2.Run(id="r-1"), "service-1")
    yield store
    store.close()


def stored(store: RunStore, run_id: str = "r-1") -> StoredRun:
    found = store.get(run_id)
    assert found is not None
    return found


def steps(store: RunStore, run_id: str = "r-1") -> list[tuple[int, int]]:
    return [(event.sequence, event.progress.step) for event in store.events(run_id, 0, 10_000)]


def test_a_new_run_has_no_events(store: RunStore) -> None:
    run = stored(store)
    assert (run.run.id, run.service, run.sequence, run.reported, run.token) == (
        "r-1",
        "service-1",
        0,
        0,
        "",
    )
    assert steps(store) == []


def test_nobody_else_on_the_machine_reads_the_store(path: Path) -> None:
    store = RunStore(path)
    store.create(run_pb2.Run(id="r-1"), "service-1")
    files = list(path.parent.glob("runs.db*"))
    assert {file.name for file in files} == {"runs.db", "runs.db-wal", "runs.db-shm"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    store.close()


def test_events_are_numbered_from_1_without_gaps_for_each_run(store: RunStore) -> None:
    store.create(run_pb2.Run(id="r-2"), "service-1")
    append(store, "r-1", [progress(10), progress(11)])
    append(store, "r-2", [progress(20)])
    append(store, "r-1", [])
    append(store, "r-1", [progress(12)])
    assert steps(store) == [(1, 10), (2, 11), (3, 12)]
    assert steps(store, "r-2") == [(1, 20)]


def test_the_run_is_what_its_events_made_of_it(store: RunStore) -> None:
    running = append(store, "r-1", [change(run_pb2.RUN_STATE_RUNNING), progress(4)])
    assert running is not None
    assert (running.run.state, running.run.progress.step) == (run_pb2.RUN_STATE_RUNNING, 4)
    assert running == stored(store)


def test_events_after_the_end_are_dropped_and_take_no_number(store: RunStore) -> None:
    end = change(run_pb2.RUN_STATE_CANCELLED)
    append(store, "r-1", [progress(1), end, progress(2)])
    append(store, "r-1", [progress(3), change(run_pb2.RUN_STATE_SUCCEEDED)])
    assert [event.WhichOneof("kind") for event in store.events("r-1", 0, 10)] == [
        "progress",
        "state_change",
    ]
    assert stored(store).sequence == 2
    assert stored(store).run.state == run_pb2.RUN_STATE_CANCELLED
    assert store.open_runs() == []


def test_events_are_read_in_pages(store: RunStore) -> None:
    append(store, "r-1", [progress(step) for step in range(10)])
    assert [event.sequence for event in store.events("r-1", 3, 4)] == [4, 5, 6, 7]
    assert store.events("r-1", 10, 4) == []


def test_nothing_can_happen_to_a_run_that_does_not_exist(store: RunStore) -> None:
    assert append(store, "r-9", [progress(1)]) is None
    assert not store.delete("r-9")
    assert store.get("r-\0") is None
    assert store.get("r-9") is None
    assert store.events("r-9", 0, 10) == []


def test_the_number_of_the_last_report_is_kept_until_the_next_attempt(store: RunStore) -> None:
    append(store, "r-1", [change(QUEUED)])
    launch(store, token="token-1")
    report(store, {7: 1}, token="token-1")
    append(store, "r-1", [progress(2), change(QUEUED)])
    assert (stored(store).reported, stored(store).token) == (7, "token-1")
    launched = launch(store, token="token-2").stored
    assert (launched.reported, launched.token, launched.run.attempt) == (0, "token-2", 2)
    assert launched == stored(store)


def test_a_report_that_comes_again_among_new_ones_happens_once(store: RunStore) -> None:
    append(store, "r-1", [change(QUEUED)])
    launch(store)
    report(store, {1: 1, 3: 2})
    report(store, {1: 1, 3: 2, 4: 3})
    assert [event.progress.step for event in store.events("r-1", 2, 10)] == [1, 2, 3]
    assert (stored(store).reported, stored(store).sequence) == (4, 5)


def test_a_transition_sees_what_happened_before_it_and_nothing_happens_meanwhile(
    store: RunStore, place: Path | str
) -> None:
    """Two services decide about one run at once: the second decides when the first has stored."""
    append(store, "r-1", [change(QUEUED)])
    other = RunStore(place)
    decides, waits = threading.Event(), threading.Event()

    def pause_slowly(now: StoredRun) -> Change:
        decides.set()
        assert waits.wait(30)
        return transitions.pause(now, "service-1")

    def launch_at_once(now: StoredRun) -> Change:
        assert now.run.state == run_pb2.RUN_STATE_PAUSED
        return transitions.launch(now, "service-1", "token")

    with ThreadPoolExecutor(2) as pool:
        pause = pool.submit(store.change, "r-1", pause_slowly)
        assert decides.wait(30)
        launched = pool.submit(other.change, "r-1", launch_at_once)
        waits.set()
        assert pause.result(30).stored.run.state == run_pb2.RUN_STATE_PAUSED
        assert not launched.result(30).events
    assert stored(store).run.attempt == 0
    other.close()


def test_a_transition_that_is_refused_changes_nothing(store: RunStore) -> None:
    append(store, "r-1", [change(QUEUED)])
    before = stored(store)
    with pytest.raises(NotPausedError):
        store.change("r-1", lambda now: transitions.resume(now, "service-1"))
    assert stored(store) == before


def test_a_state_that_may_not_follow_is_dropped(store: RunStore) -> None:
    append(store, "r-1", [change(QUEUED), change(run_pb2.RUN_STATE_PAUSED)])
    append(store, "r-1", [change(LAUNCHING), change(run_pb2.RUN_STATE_RUNNING), change(SUCCEEDED)])
    now = stored(store)
    assert (now.run.state, now.sequence) == (run_pb2.RUN_STATE_PAUSED, 2)


def test_runs_come_newest_first_in_pages(store: RunStore) -> None:
    for i in range(2, 6):
        store.create(run_pb2.Run(id=f"r-{i}"), "service-1")
    first = store.page(None, 2)
    second = store.page(first[-1].cursor, 10)
    assert [found.run.id for found in first] == ["r-5", "r-4"]
    assert [found.run.id for found in second] == ["r-3", "r-2", "r-1"]


def test_open_runs_come_oldest_first(store: RunStore) -> None:
    store.create(run_pb2.Run(id="r-2"), "service-2")
    append(store, "r-1", [progress(1)])
    assert [found.run.id for found in store.open_runs()] == ["r-1", "r-2"]


def test_a_run_is_taken_over_from_a_service_once(store: RunStore) -> None:
    adopted = adopt(store, "service-1", "service-2")
    assert adopted.stored == stored(store)
    assert stored(store).service == "service-2"
    assert not adopt(store, "service-1", "service-3", over=True).events
    assert stored(store).service == "service-2"


def test_the_runner_of_a_run_that_is_taken_over_is_kept_unless_the_run_is_queued_again(
    store: RunStore,
) -> None:
    append(store, "r-1", [change(QUEUED)])
    launch(store)
    report(store, {3: 1})
    adopt(store, "service-1", "service-2")
    assert (stored(store).token, stored(store).reported) == ("token", 3)
    adopt(store, "service-2", "service-3", over=True)
    assert (stored(store).token, stored(store).run.state) == ("", QUEUED)


def test_runs_that_wait_are_taken_over_together(store: RunStore) -> None:
    for i, service, state in (
        (2, "service-1", QUEUED),
        (3, "service-1", run_pb2.RUN_STATE_PAUSED),
        (4, "service-1", LAUNCHING),
        (5, "service-2", QUEUED),
    ):
        store.create(run_pb2.Run(id=f"r-{i}"), service, [change(state)])
    before = [stored(store, run_id) for run_id in ("r-2", "r-3")]
    adopted = store.adopt_waiting("service-1", "service-3")
    assert sorted(adopted) == [each._replace(service="service-3") for each in before]
    assert ids(store.open_runs("service-3")) == ["r-2", "r-3"]
    assert ids(store.open_runs("service-1")) == ["r-1", "r-4"]


@pytest.mark.parametrize("state", [run_pb2.RUN_STATE_PAUSED, LAUNCHING, SUCCEEDED])
def test_only_a_queued_run_is_launched(store: RunStore, state: run_pb2.RunState) -> None:
    append(store, "r-1", [change(state)])
    before = stored(store)
    assert not launch(store).events
    assert stored(store) == before


def test_a_run_is_launched_by_the_service_that_looks_after_it(store: RunStore) -> None:
    append(store, "r-1", [change(QUEUED)])
    assert not launch(store, "service-2").events
    assert launch(store, "service-1").events


def test_open_runs_are_those_of_a_service_in_some_states(store: RunStore) -> None:
    for i, state in ((2, QUEUED), (3, LAUNCHING), (4, QUEUED), (5, SUCCEEDED), (6, QUEUED)):
        store.create(run_pb2.Run(id=f"r-{i}"), "service-2", [change(state)])

    def ids(*arguments: Any) -> list[str]:
        return [found.run.id for found in store.open_runs(*arguments)]

    assert ids() == ["r-1", "r-2", "r-3", "r-4", "r-6"]
    assert ids("service-2") == ["r-2", "r-3", "r-4", "r-6"]
    assert ids("service-2", {QUEUED}) == ["r-2", "r-4", "r-6"]
    assert ids("service-2", {QUEUED}, 2) == ["r-2", "r-4"]


def test_the_services_that_look_after_runs_are_those_of_open_runs(store: RunStore) -> None:
    for i, service, state in ((2, "service-2", QUEUED), (3, "service-2", LAUNCHING)):
        store.create(run_pb2.Run(id=f"r-{i}"), service, [change(state)])
    store.create(run_pb2.Run(id="r-4"), "service-3", [change(SUCCEEDED)])
    assert store.services() == {"service-1", "service-2"}


def test_a_run_comes_with_its_first_events_or_not_at_all(store: RunStore) -> None:
    created = store.create(run_pb2.Run(id="r-2"), "service-1", [change(QUEUED), progress(1)])
    assert created == stored(store, "r-2")
    assert (created.run.state, created.sequence) == (QUEUED, 2)
    with pytest.raises(AttributeError):
        store.create(run_pb2.Run(id="r-3"), "service-1", [change(QUEUED), None])  # type: ignore[list-item]
    assert store.get("r-3") is None


# --- requests -----------------------------------------------------------------------------------


def requested(run_id: str, **fields: Any) -> run_pb2.Run:
    return run_pb2.Run(id=run_id, **{"request_id": "once", **fields})


def test_a_request_is_stored_once(store: RunStore) -> None:
    first = store.create(requested("r-2", labels={"a": "1"}), "service-1", [change(QUEUED)])
    append(store, "r-2", [progress(7)])
    again = store.create(requested("r-3", labels={"a": "1"}), "service-2", [change(QUEUED)])
    assert (again.run.id, again.run.progress.step) == (first.run.id, 7)
    assert store.get("r-3") is None


def test_requests_without_an_id_are_all_stored(store: RunStore) -> None:
    for i in (2, 3):
        store.create(requested(f"r-{i}", request_id=""), "service-1")
    assert len(store.open_runs()) == 3


def test_two_owners_may_use_one_request_id(store: RunStore) -> None:
    for owner in ("ann", "bob"):
        assert store.create(requested(f"r-{owner}", owner=owner), "service-1").run.owner == owner


@pytest.mark.parametrize(
    "other",
    [{"spec": run_pb2.RunSpec(name="other")}, {"labels": {"a": "2"}}, {"priority": 1}],
    ids=lambda other: next(iter(other)),
)
def test_another_request_with_the_same_id_is_refused(
    store: RunStore, other: dict[str, Any]
) -> None:
    store.create(requested("r-2"), "service-1")
    with pytest.raises(RequestConflictError) as caught:
        store.create(requested("r-3", **other), "service-1")
    assert caught.value.run_id == "r-2"
    assert store.get("r-3") is None


def test_one_request_that_comes_from_everywhere_at_once_is_stored_once(
    store: RunStore, place: Path | str
) -> None:
    other = RunStore(place)
    together = threading.Barrier(8)

    def create(i: int) -> str:
        together.wait(30)
        return (store, other)[i % 2].create(requested(f"r-{i + 2}"), "service-1").run.id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(create, range(8)))) == 1
    assert len(store.open_runs()) == 2
    other.close()


# --- lists --------------------------------------------------------------------------------------


@pytest.fixture
def listed(store: RunStore) -> RunStore:
    """Runs whose order of creation is not that of their storing."""
    for i, seconds, name, state, labels in (
        (2, 50, "digits", QUEUED, {"team": "vision", "kind": "dry"}),
        (3, 40, "digits-2", SUCCEEDED, {"team": "vision"}),
        (4, 60, "Digits", QUEUED, {"team": "speech", "kind": "dry"}),
        (5, 50, "a%_'b", run_pb2.RUN_STATE_FAILED, {"k": "v"}),
    ):
        run = run_pb2.Run(
            id=f"r-{i}",
            spec=run_pb2.RunSpec(name=name),
            labels=labels,
            created=Timestamp(seconds=seconds),
        )
        store.create(run, "service-1", [change(state)])
    return store


def ids(found: list[StoredRun]) -> list[str]:
    return [each.run.id for each in found]


@pytest.mark.slow
def test_lists_by_any_number_of_labels_leave_nothing_in_memory(listed: RunStore) -> None:
    def look(labels: int) -> None:
        for name in ("", "a", "a*"):
            wanted = RunFilter(name=name, labels={str(i): "x" for i in range(labels)})
            assert listed.page(None, 10, wanted) == []

    look(64)
    tracemalloc.start()
    try:
        for labels in range(1, 64):
            look(labels)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 2_000_000  # a statement that is kept for each would be tens of megabytes


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (RunFilter(), ["r-4", "r-5", "r-2", "r-3", "r-1"]),
        (RunFilter(oldest_first=True), ["r-1", "r-3", "r-2", "r-5", "r-4"]),
        (RunFilter(id_prefix="r-3"), ["r-3"]),
        (RunFilter(id_prefix="r-", oldest_first=True), ["r-1", "r-3", "r-2", "r-5", "r-4"]),
        (RunFilter(id_prefix="R-3"), []),
        (RunFilter(id_prefix="r_3"), []),
        (RunFilter(id_prefix="r-33"), []),
        (RunFilter(states=frozenset({QUEUED})), ["r-4", "r-2"]),
        (RunFilter(states=frozenset({QUEUED, SUCCEEDED})), ["r-4", "r-2", "r-3"]),
        (RunFilter(name="digits"), ["r-2"]),
        (RunFilter(name="digits*"), ["r-2", "r-3"]),
        (RunFilter(name="a%_'*"), ["r-5"]),
        (RunFilter(name="%*"), []),
        (RunFilter(name="*"), ["r-4", "r-5", "r-2", "r-3", "r-1"]),
        (RunFilter(labels={"team": "vision"}), ["r-2", "r-3"]),
        (RunFilter(labels={"kind": "dry", "team": "vision"}), ["r-2"]),
        (RunFilter(labels={"team": "dry"}), []),
        (RunFilter(labels={"kind": "dry", "team": "k"}), []),
        (RunFilter(labels={"team": "vision"} | {str(i): "" for i in range(63)}), []),
        (RunFilter(frozenset({QUEUED}), "D*", {"kind": "dry"}), ["r-4"]),
    ],
    ids=str,
)
def test_a_list_has_what_is_wanted_in_the_order_of_creation(
    listed: RunStore, wanted: RunFilter, found: list[str]
) -> None:
    assert ids(listed.page(None, 10, wanted)) == found


@pytest.mark.parametrize("oldest_first", [False, True])
def test_pages_are_stable_while_runs_come_and_go(listed: RunStore, oldest_first: bool) -> None:
    wanted = RunFilter(oldest_first=oldest_first)
    before = ids(listed.page(None, 10, wanted))
    first = listed.page(None, 2, wanted)
    for i, seconds in ((6, 1000), (7, -1000)):
        listed.create(run_pb2.Run(id=f"r-{i}", created=Timestamp(seconds=seconds)), "service-1")
    append(listed, first[-1].run.id, [change(CANCELLED)])
    listed.delete(first[-1].run.id)
    rest = ids(listed.page(first[-1].cursor, 10, wanted))
    assert rest == [*before[2:], "r-6" if oldest_first else "r-7"]


def test_a_state_is_found_as_it_is_now(listed: RunStore) -> None:
    append(listed, "r-2", [change(CANCELLED)])
    assert ids(listed.page(None, 10, RunFilter(frozenset({QUEUED})))) == ["r-4"]


# --- deletion -----------------------------------------------------------------------------------


def test_a_run_that_has_ended_is_deleted_with_all_that_was_known_of_it(listed: RunStore) -> None:
    others = [found for found in listed.page(None, 10) if found.run.id != "r-3"]
    assert listed.delete("r-3")
    assert listed.get("r-3") is None
    assert listed.events("r-3", 0, 10) == []
    assert ids(listed.page(None, 10, RunFilter(labels={"team": "vision"}))) == ["r-2"]
    assert listed.page(None, 10) == others
    assert not listed.delete("r-3")


def test_a_run_that_has_not_ended_is_not_deleted(store: RunStore) -> None:
    with pytest.raises(RunNotEndedError, match="run r-1 has not ended"):
        store.delete("r-1")
    assert stored(store).run.id == "r-1"


def test_the_request_id_of_a_deleted_run_can_be_used_again(store: RunStore) -> None:
    store.create(requested("r-2"), "service-1", [change(SUCCEEDED)])
    store.delete("r-2")
    assert store.create(requested("r-3"), "service-1").run.id == "r-3"


# --- durability ---------------------------------------------------------------------------------


def test_a_run_id_is_given_once(store: RunStore) -> None:
    with pytest.raises(IntegrityError):
        store.create(run_pb2.Run(id="r-1"), "service-1")
    assert append(store, "r-1", [progress(1)]) is not None


def test_what_fails_halfway_leaves_nothing_behind(store: RunStore) -> None:
    append(store, "r-1", [progress(1)])
    with pytest.raises(AttributeError):
        append(store, "r-1", [progress(2), None])  # type: ignore[list-item]
    assert steps(store) == [(1, 1)]
    append(store, "r-1", [progress(3)])
    assert steps(store) == [(1, 1), (2, 3)]


def test_everything_is_there_after_reopening(store: RunStore, place: Path | str) -> None:
    append(store, "r-1", [change(QUEUED)])
    launch(store)
    report(store, {2: 1})
    before, events = stored(store), store.events("r-1", 0, 10)
    store.close()
    again = RunStore(place)
    assert stored(again) == before
    assert again.events("r-1", 0, 10) == events
    again.close()


@pytest.mark.slow
def test_two_stores_may_share_a_database(store: RunStore, place: Path | str) -> None:
    other = RunStore(place)
    with ThreadPoolExecutor(2) as pool:
        for each in (store, other):
            pool.submit(lambda each=each: [append(each, "r-1", [progress(1)]) for _ in range(20)])
    assert [sequence for sequence, _ in steps(store)] == list(range(1, 41))
    other.close()


@pytest.mark.slow
def test_threads_that_append_at_once_leave_no_gaps_and_lose_nothing(store: RunStore) -> None:
    def append_some(thread: int) -> list[int]:
        found = []
        for i in range(25):
            run = append(store, "r-1", [progress(1000 * thread + i)])
            assert run is not None
            found.append(run.sequence)
        return found

    with ThreadPoolExecutor(4) as pool:
        given = [sequence for part in pool.map(append_some, range(4)) for sequence in part]
    assert sorted(given) == list(range(1, 101))
    assert sorted(step for _, step in steps(store)) == sorted(
        1000 * thread + i for thread in range(4) for i in range(25)
    )


@pytest.mark.parametrize("content", [b"not a database, but long enough to look like one" * 99])
def test_a_file_that_is_no_database_is_refused(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(StoreError, match="cannot open the run store"):
        RunStore(path)
    assert path.read_bytes() == content


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot open the run store"):
        RunStore(tmp_path / "file" / "runs.db")


REPORT_FOR_EVER = """
import sys
from itertools import count
from pathlib import Path

from sumgrad.trainer.record.events import state_event
from sumgrad.trainer.service.runs import transitions
from sumgrad.trainer.service.store.run_store import RunStore
from sumgrad.trainer.v1 import run_pb2, runner_pb2

store = RunStore(sys.argv[1] if "//" in sys.argv[1] else Path(sys.argv[1]))
store.create(run_pb2.Run(id="r-1"), "service-1", [state_event(run_pb2.RUN_STATE_QUEUED)])
store.change("r-1", lambda now: transitions.launch(now, "service-1", "token"))
for step in count(1):
    report = runner_pb2.RunReport(progress=run_pb2.Progress(step=step))
    store.change("r-1", lambda now: transitions.report(now, 1, "token", {step: report}))
    print(step, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("acknowledged", [1, 50, 200])
def test_a_process_that_is_killed_loses_nothing_that_was_acknowledged(
    place: Path | str, acknowledged: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", REPORT_FOR_EVER, str(place)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(acknowledged):
            assert process.stdout.readline()
        process.kill()
        rest = [line for line in process.stdout if line.endswith("\n")]
    said = acknowledged + len(rest)
    store = RunStore(place)
    queued, launched, *found = steps(store)
    assert (queued, launched) == ((1, 0), (2, 0))
    # What was under way when it was killed may be there or not.
    assert len(found) in (said, said + 1)
    assert found == [(i + 2, i) for i in range(1, len(found) + 1)]
    run = stored(store)
    assert (run.sequence - 2, run.reported, run.run.progress.step) == (len(found),) * 3
    store.close()


# --- Postgres -----------------------------------------------------------------------------------


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> str:
    return postgres_server.new_store()


def test_connections_that_were_lost_are_made_again(
    postgres_server: PostgresServer, postgres: str
) -> None:
    store = RunStore(postgres)
    store.create(run_pb2.Run(id="r-1"), "service-1")
    postgres_server.disconnect()
    assert stored(store).run.id == "r-1"
    postgres_server.disconnect()
    append(store, "r-1", [progress(1)])
    assert steps(store) == [(1, 1)]
    store.close()


def test_a_transaction_whose_connection_breaks_stores_nothing_and_says_so(
    postgres_server: PostgresServer, postgres: str
) -> None:
    database = Database(postgres)

    def insert_and_lose_the_connection() -> None:
        with database.writing() as connection:
            connection.execute(text("INSERT INTO alembic_version VALUES ('lost')"))
            postgres_server.disconnect()

    with pytest.raises(StoreUnavailableError, match=r"^the run store .* cannot be used now: "):
        insert_and_lose_the_connection()
    with database.reading() as connection:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars()
        assert list(found) == [REVISION]
    database.close()


def test_a_postgres_that_does_not_answer_is_told_in_one_line_without_the_password() -> None:
    with pytest.raises(StoreError) as caught:
        RunStore("postgresql://ann:secret@127.0.0.1:1/runs")
    assert str(caught.value).startswith(
        "cannot open the run store postgresql://ann:***@127.0.0.1:1/runs: connection failed"
    )
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("url", ["mysql://ann:secret@host/runs", "runs.db", "", "postgresql:x:y@"])
def test_a_store_that_is_no_postgres_is_refused_without_its_text(url: str) -> None:
    with pytest.raises(StoreError, match="must be like postgresql://") as caught:
        RunStore(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "has"),
    [
        ("postgresql://ann:secret@host/runs", True),
        ("postgresql:///runs?user=ann&password=secret", True),
        ("postgresql://ann@host/runs", False),
    ],
)
def test_a_password_in_a_url_is_found(url: str, has: bool) -> None:
    assert has_password(url) is has


# --- locks --------------------------------------------------------------------------------------


def locks_of(place: Path | str) -> Locks:
    return FileLocks(place.parent / "services") if isinstance(place, Path) else PostgresLocks(place)


def test_a_lock_is_free_when_its_holder_has_let_go(place: Path | str) -> None:
    holder, other = locks_of(place), locks_of(place)
    holder.hold("service-1")
    holder.hold("service-1")
    assert [other.is_free("service-1"), other.is_free("service-2")] == [False, True]
    assert not holder.is_free("service-1")
    holder.close()
    assert other.is_free("service-1")
    other.close()


HOLD = """
import sys
from pathlib import Path

from sumgrad.trainer.service.takeover.file_locks import FileLocks
from sumgrad.trainer.service.takeover.postgres_locks import PostgresLocks

place = sys.argv[1]
locks = PostgresLocks(place) if "//" in place else FileLocks(Path(place).parent / "services")
locks.hold("service-1")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_a_lock_is_free_when_its_holder_was_killed(place: Path | str) -> None:
    locks = locks_of(place)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert not locks.is_free("service-1")
        process.kill()
    eventually(lambda: locks.is_free("service-1"))
    locks.close()


def test_a_lock_that_was_lost_with_its_connection_is_taken_again(
    postgres_server: PostgresServer, postgres: str
) -> None:
    holder, other = PostgresLocks(postgres), PostgresLocks(postgres)
    holder.hold("service-1")
    postgres_server.disconnect()
    assert other.is_free("service-1")
    with pytest.raises(StoreUnavailableError):
        holder.hold("service-1")
    holder.hold("service-1")
    assert not other.is_free("service-1")
    holder.close()
    other.close()
