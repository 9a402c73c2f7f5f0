"""Slots and the workers in them: who is started, replaced, retired, and when a slot fails."""

from __future__ import annotations

import pytest

from sumgrad.trainer.runner.worker_group import (
    FAILURES,
    Change,
    RetireWorker,
    SlotFailedError,
    SlotLeftEmpty,
    StartWorker,
    WorkerGroup,
)


@pytest.fixture
def group() -> WorkerGroup:
    """Of two workers."""
    group = WorkerGroup()
    group.resize(2)
    return group


def end(group: WorkerGroup, *names: str, refused: bool = False) -> list[Change]:
    """These workers end, one after the other; what the last ending changes."""
    changes: list[Change] = []
    for name in names:
        changes = group.ended(name, "it died", refused)
    return changes


def names(group: WorkerGroup) -> list[str]:
    return sorted(group.members)


def test_every_slot_gets_a_worker_that_is_named_after_it() -> None:
    group = WorkerGroup()
    assert group.resize(2) == [StartWorker("worker-0"), StartWorker("worker-1")]
    assert names(group) == ["worker-0", "worker-1"]


def test_a_worker_that_ends_is_replaced_under_a_new_name(group: WorkerGroup) -> None:
    assert end(group, "worker-1") == [StartWorker("worker-1.1")]
    assert end(group, "worker-1.1") == [StartWorker("worker-1.2")]
    assert names(group) == ["worker-0", "worker-1.2"]


def test_a_slot_fails_by_name_after_failures_in_a_row(group: WorkerGroup) -> None:
    assert FAILURES == 3
    end(group, "worker-0", "worker-0.1")
    with pytest.raises(SlotFailedError) as caught:
        group.ended("worker-0.2", "no such GPU")
    assert str(caught.value) == (
        "worker slot 0 failed 3 times in a row without an answer; the last time: no such GPU"
    )
    assert names(group) == ["worker-1"]


def test_a_slot_whose_workers_are_refused_stays_empty_while_others_work(
    group: WorkerGroup,
) -> None:
    end(group, "worker-1", "worker-1.1", refused=True)
    assert group.empty == set()
    [empty] = group.ended("worker-1.2", "it computes with other bits", refused=True)
    assert empty == SlotLeftEmpty(1, "it computes with other bits")
    assert str(empty) == (
        "worker slot 1 stays empty, because its workers are refused again and again; the last "
        "time: it computes with other bits"
    )
    assert group.empty == {1}
    assert group.resize(2) == []
    assert names(group) == ["worker-0"]


def test_an_empty_slot_is_tried_again_when_another_number_is_asked_for(
    group: WorkerGroup,
) -> None:
    end(group, "worker-1", "worker-1.1", "worker-1.2", refused=True)
    assert group.resize(3) == [StartWorker("worker-1.3"), StartWorker("worker-2")]
    end(group, "worker-1.3", "worker-1.4", refused=True)
    end(group, "worker-2")
    assert names(group) == ["worker-0", "worker-1.5", "worker-2.1"]


def test_the_last_slot_whose_workers_are_refused_fails(group: WorkerGroup) -> None:
    group.resize(1)  # worker-1 may still compute, and then goes
    end(group, "worker-0", "worker-0.1", refused=True)
    with pytest.raises(SlotFailedError, match="worker slot 0 failed 3 times"):
        end(group, "worker-0.2", refused=True)


def test_failures_of_different_slots_do_not_add_up(group: WorkerGroup) -> None:
    end(group, "worker-0", "worker-1", "worker-0.1", "worker-1.1")
    assert names(group) == ["worker-0.2", "worker-1.2"]


def test_an_answer_forgives_the_failures_of_its_slot_alone(group: WorkerGroup) -> None:
    end(group, "worker-0", "worker-1", "worker-0.1", "worker-1.1")
    group.contributed("worker-0.2")
    assert end(group, "worker-0.2") == [StartWorker("worker-0.3")]
    with pytest.raises(SlotFailedError, match="worker slot 1"):
        end(group, "worker-1.2")


def test_an_answer_of_a_worker_that_is_gone_forgives_nothing(group: WorkerGroup) -> None:
    end(group, "worker-0", "worker-0.1")
    group.contributed("worker-0")
    with pytest.raises(SlotFailedError):
        end(group, "worker-0.2")


def test_more_workers_are_started_and_the_others_stay(group: WorkerGroup) -> None:
    assert group.resize(4) == [StartWorker("worker-2"), StartWorker("worker-3")]
    assert names(group) == ["worker-0", "worker-1", "worker-2", "worker-3"]


def test_the_same_number_again_changes_nothing(group: WorkerGroup) -> None:
    assert group.resize(2) == []


def test_fewer_workers_are_asked_once_to_leave_and_are_not_replaced(group: WorkerGroup) -> None:
    assert group.resize(1) == [RetireWorker("worker-1")]
    assert group.resize(1) == []
    assert names(group) == ["worker-0", "worker-1"], "it may still be computing"
    assert end(group, "worker-1") == []
    assert names(group) == ["worker-0"]


def test_a_slot_that_is_wanted_again_has_a_new_worker_at_once(group: WorkerGroup) -> None:
    group.resize(1)
    assert group.resize(2) == [StartWorker("worker-1.1")]
    assert names(group) == ["worker-0", "worker-1", "worker-1.1"]
    assert end(group, "worker-1") == []
    assert names(group) == ["worker-0", "worker-1.1"]
