"""Slots and the workers in them: who is started, replaced, let go, and when a slot is given up."""

from __future__ import annotations

from itertools import count

import pytest

from sumgrad.trainer.runner.worker_group import FAILURES, Crew, SlotFailedError


class Starts:
    """In the place of Ray: a worker is its name, and what it does is a number."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._works = count()

    def __call__(self, name: str) -> tuple[str, int]:
        self.names.append(name)
        return f"actor of {name}", next(self._works)


@pytest.fixture
def starts() -> Starts:
    return Starts()


@pytest.fixture
def crew(starts: Starts) -> Crew:
    """Of two workers."""
    crew = Crew(starts)
    assert crew.resize(2) == []
    return crew


def end(crew: Crew, name: str, reason: str = "it died", refused: bool = False) -> None:
    """The work of the member of this name is over."""
    [work] = [work for work, member in crew.members.items() if member.name == name]
    assert crew.ended(work, reason, refused).name == name


def names(crew: Crew) -> list[str]:
    return sorted(member.name for member in crew.members.values())


def test_every_slot_gets_a_worker_that_is_named_after_it(crew: Crew) -> None:
    assert names(crew) == ["worker-0", "worker-1"]


def test_a_worker_that_ends_is_replaced_under_a_new_name(crew: Crew, starts: Starts) -> None:
    end(crew, "worker-1")
    end(crew, "worker-1.1")
    assert names(crew) == ["worker-0", "worker-1.2"]
    assert len(set(starts.names)) == len(starts.names) == 4


def test_a_slot_is_given_up_by_name_after_failures_in_a_row(crew: Crew, starts: Starts) -> None:
    for generation in range(FAILURES - 1):
        end(crew, f"worker-0.{generation}" if generation else "worker-0")
    with pytest.raises(SlotFailedError) as caught:
        end(crew, f"worker-0.{FAILURES - 1}", "no such GPU")
    assert str(caught.value) == (
        "worker slot 0 failed 3 times in a row without an answer; the last time: no such GPU"
    )
    assert len(starts.names) == 2 + FAILURES - 1


def test_a_slot_whose_workers_are_refused_stays_empty_while_others_work(
    crew: Crew, starts: Starts
) -> None:
    for name in ("worker-1", "worker-1.1", "worker-1.2"):
        assert crew.empty == set()
        end(crew, name, "it computes with other bits", refused=True)
    assert crew.empty == {1}
    assert crew.resize(2) == []
    assert names(crew) == ["worker-0"]
    crew.resize(3)  # whoever asks for another number has it tried again
    assert names(crew) == ["worker-0", "worker-1.3", "worker-2"]
    for name in ("worker-1.3", "worker-1.4"):
        end(crew, name, refused=True)
    end(crew, "worker-2")
    assert names(crew) == ["worker-0", "worker-1.5", "worker-2.1"]


def test_the_last_slot_whose_workers_are_refused_is_given_up_by_name(starts: Starts) -> None:
    crew = Crew(starts)
    crew.resize(1)
    for name in ("worker-0", "worker-0.1"):
        end(crew, name, refused=True)
    with pytest.raises(SlotFailedError, match="worker slot 0 failed 3 times"):
        end(crew, "worker-0.2", refused=True)


def test_failures_of_different_slots_do_not_add_up(crew: Crew) -> None:
    for generation in range(FAILURES - 1):
        for slot in (0, 1):
            end(crew, f"worker-{slot}.{generation}" if generation else f"worker-{slot}")
    assert names(crew) == ["worker-0.2", "worker-1.2"]


def test_an_answer_forgives_the_failures_of_its_slot_alone(crew: Crew) -> None:
    for generation in range(FAILURES - 1):
        for slot in (0, 1):
            end(crew, f"worker-{slot}.{generation}" if generation else f"worker-{slot}")
    crew.contributed("worker-0.2")
    end(crew, "worker-0.2")
    with pytest.raises(SlotFailedError, match="worker slot 1"):
        end(crew, "worker-1.2")


def test_an_answer_of_a_worker_that_is_gone_forgives_nothing(crew: Crew) -> None:
    for generation in range(FAILURES - 1):
        end(crew, f"worker-0.{generation}" if generation else "worker-0")
    crew.contributed("worker-0")
    with pytest.raises(SlotFailedError):
        end(crew, "worker-0.2")


def test_more_workers_are_started_and_the_others_stay(crew: Crew, starts: Starts) -> None:
    assert crew.resize(4) == []
    assert names(crew) == ["worker-0", "worker-1", "worker-2", "worker-3"]
    assert len(starts.names) == 4


def test_the_same_number_again_changes_nothing(crew: Crew, starts: Starts) -> None:
    assert crew.resize(2) == []
    assert len(starts.names) == 2


def test_fewer_workers_are_asked_once_to_leave_and_are_not_replaced(
    crew: Crew, starts: Starts
) -> None:
    assert crew.resize(1) == ["worker-1"]
    assert crew.resize(1) == []
    assert names(crew) == ["worker-0", "worker-1"]  # it may still be computing
    for _ in range(FAILURES):
        assert crew.resize(1) == []
    end(crew, "worker-1")
    assert names(crew) == ["worker-0"]
    assert len(starts.names) == 2


def test_a_slot_that_is_wanted_again_has_a_new_worker_at_once(crew: Crew) -> None:
    crew.resize(1)
    assert crew.resize(2) == []
    assert names(crew) == ["worker-0", "worker-1", "worker-1.1"]
    end(crew, "worker-1")
    assert names(crew) == ["worker-0", "worker-1.1"]


def test_actors_are_found_by_the_names_of_their_workers(crew: Crew) -> None:
    assert crew.actor("worker-1") == "actor of worker-1"
    end(crew, "worker-1")
    assert crew.actor("worker-1") is None
    assert crew.actor("worker-1.1") == "actor of worker-1.1"
