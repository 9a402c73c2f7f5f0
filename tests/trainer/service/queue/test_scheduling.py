"""The queue: in order, fair, within limits, and no more at once than the cores hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sumgrad.trainer.service.queue import forecast
from sumgrad.trainer.service.queue.scheduling import (
    NO_LIMITS,
    RAY_UNITS,
    WORKERS_PER_CORE,
    Decision,
    Running,
    UserLimits,
    Waiting,
    decide,
    in_order,
    run_cpus,
    worker_cpus,
    workers_limit,
)
from sumgrad.trainer.service.queue.usage import HALF_LIFE_SECONDS, Usage

CORES = st.integers(1, 8)
OWNERS = st.sampled_from(["alice", "bob", "carol"])
LIMITS = st.builds(
    UserLimits,
    st.none() | st.integers(1, 4),
    st.none() | st.integers(8, 12),  # at least what the largest run needs
)
USAGE = st.dictionaries(OWNERS, st.floats(0, 1e6))


@st.composite
def queues(draw: st.DrawFn, cores: int) -> list[Waiting]:
    count = draw(st.integers(0, 8))
    numbers = draw(st.permutations(range(count)))
    return [
        Waiting(
            f"w{number}",
            draw(OWNERS),
            draw(st.integers(-1, 2)),
            draw(st.integers(1, cores)),
            number,
            draw(st.none() | st.integers(0, 100)),
        )
        for number in numbers
    ]


@st.composite
def crowds(draw: st.DrawFn, cores: int) -> list[Running]:
    """Running runs that fit the cores."""
    found: list[Running] = []
    free = cores
    while free and draw(st.booleans()):
        cpus = draw(st.integers(1, free))
        free -= cpus
        yielding = draw(st.booleans())
        found.append(
            Running(
                f"r{len(found)}",
                draw(OWNERS),
                draw(st.integers(-1, 2)),
                cpus,
                len(found),
                yielding,
                not yielding and draw(st.booleans()),
                draw(st.none() | st.integers(0, 100)),
            )
        )
    return found


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Waiting], list[Running], int]:
    cores = draw(CORES)
    return draw(queues(cores)), draw(crowds(cores)), cores


def waiting(*cpus: int, owner: str = "alice", priority: int = 0, first: int = 0) -> list[Waiting]:
    return [Waiting(f"w{n}", owner, priority, c, n) for n, c in enumerate(cpus, first)]


def running(*cpus: int, owner: str = "alice", priority: int = 0) -> list[Running]:
    return [Running(f"r{n}", owner, priority, c, n) for n, c in enumerate(cpus)]


def reasons(decision: Decision) -> list[str]:
    return [place.reason for place in decision.places.values()]


# --- starting -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queued", "active", "cores", "expected"),
    [
        ([], [], 2, 0),
        ([1], [], 2, 1),
        ([1, 1, 1], [], 2, 2),
        ([2], [1], 2, 0),
        ([2], [2], 4, 1),
        # A run that asks for more than there is starts alone.
        ([8], [], 2, 1),
        ([8], [1], 2, 0),
        ([1], [8], 2, 0),
        # A large run is not overtaken by the small ones behind it.
        ([2, 1], [1], 2, 0),
        ([1, 2, 1], [1], 3, 1),
    ],
)
def test_runs_start_in_order_while_cores_are_free(
    queued: list[int], active: list[int], cores: int, expected: int
) -> None:
    decision = decide(
        waiting(*(run_cpus(workers, cores) for workers in queued)),
        running(*(run_cpus(workers, cores) for workers in active)),
        cores,
    )
    assert decision.start == [f"w{n}" for n in range(expected)]
    assert not decision.preempt


@pytest.mark.slow
@given(situation=situations(), limits=LIMITS, usage=USAGE)
def test_cores_and_limits_hold_and_every_run_has_a_place(
    situation: tuple[list[Waiting], list[Running], int], limits: UserLimits, usage: dict[str, float]
) -> None:
    queued, active, cores = situation
    decision = decide(queued, active, cores, limits, usage)
    started = [run for run in queued if run.id in decision.start]
    assert sum(run.cpus for run in [*active, *started]) <= cores
    for owner in {run.owner for run in started}:
        theirs = [run for run in [*active, *started] if run.owner == owner]
        assert limits.runs is None or len(theirs) <= limits.runs
        assert limits.cpus is None or sum(run.cpus for run in theirs) <= limits.cpus
    assert [place.position for place in decision.places.values()] == [*range(1, len(queued) + 1)]
    assert decision.places.keys() == {run.id for run in queued}
    waits = {run_id for run_id, place in decision.places.items() if place.reason}
    assert waits == decision.places.keys() - set(decision.start)


@pytest.mark.slow
@given(situation=situations(), limits=LIMITS, usage=USAGE, rng=st.randoms())
def test_the_decision_does_not_depend_on_the_order_in_which_runs_are_told(
    situation: tuple[list[Waiting], list[Running], int],
    limits: UserLimits,
    usage: dict[str, float],
    rng: object,
) -> None:
    queued, active, cores = situation
    first = decide(queued, active, cores, limits, usage)
    rng.shuffle(queued)  # type: ignore[attr-defined]
    rng.shuffle(active)  # type: ignore[attr-defined]
    assert decide(queued, active, cores, limits, usage) == first


@pytest.mark.slow
@given(situation=situations(), usage=USAGE)
def test_nobody_overtakes_the_first_run_that_does_not_fit(
    situation: tuple[list[Waiting], list[Running], int], usage: dict[str, float]
) -> None:
    queued, active, cores = situation
    decision = decide(queued, active, cores, NO_LIMITS, usage)
    assert [*decision.places][: len(decision.start)] == decision.start


@pytest.mark.slow
@given(situation=situations(), limits=LIMITS)
def test_every_run_of_a_finite_stream_starts(
    situation: tuple[list[Waiting], list[Running], int], limits: UserLimits
) -> None:
    queued, active, cores = situation
    left = {run.id: run for run in queued}
    for number in range(100, 100 + 2 * len(queued) + len(active) + 1):
        decision = decide(left.values(), active, cores, limits)
        started = [left.pop(run_id) for run_id in decision.start]
        # One that runs ends, then all that have been started do.
        active = (
            active[1:] or [Running(s.id, s.owner, s.priority, s.cpus, number) for s in started][1:]
        )
    assert not left


def test_a_run_whose_user_is_at_a_limit_is_passed_over() -> None:
    queued = [*waiting(1), *waiting(1, owner="bob", first=1), *waiting(1, owner="", first=2)]
    active = [*running(1, 2), Running("r9", "", 0, 1, 9)]
    decision = decide(queued, active, 8, UserLimits(runs=2))
    assert decision.start == ["w1", "w2"]
    assert decision.places["w0"].reason == "alice has 2 of 2 runs"
    decision = decide(queued, active, 8, UserLimits(cpus=3))
    assert decision.places["w0"].reason == "alice has 3 of 3 CPUs, it needs 1"
    assert (
        decide(queued, active, 8, UserLimits(runs=1)).places["w2"].reason
        == "its user has 1 of 1 runs"
    )


def test_a_waiting_run_says_what_it_waits_for() -> None:
    decision = decide(waiting(2, 1), running(1), 2)
    assert reasons(decision) == ["needs 2 CPUs, 1 free", "w0 is before it"]
    assert reasons(decide(waiting(1), running(2), 2)) == ["needs 1 CPU, 0 free"]


# --- the order ----------------------------------------------------------------------------------


def ids(order: list[Waiting]) -> list[str]:
    return [run.id for run in order]


def test_a_higher_priority_goes_first_whoever_holds_what() -> None:
    queued = [*waiting(1, 1), *waiting(1, priority=1, first=2)]
    assert ids(in_order(queued, running(4), {})) == ["w2", "w0", "w1"]


def test_users_take_turns_by_the_cpus_that_they_would_hold() -> None:
    queued = [*waiting(1, 1, 1, 1), *waiting(2, 2, owner="bob", first=4)]
    assert ids(in_order(queued, [], {})) == ["w0", "w4", "w1", "w2", "w5", "w3"]


def test_who_holds_fewer_cpus_goes_first_and_then_who_has_used_less() -> None:
    queued = [*waiting(1), *waiting(1, owner="bob", first=1)]
    assert ids(in_order(queued, running(1), {})) == ["w1", "w0"]
    assert ids(in_order(queued, [], {"alice": 5.0, "bob": 1.0})) == ["w1", "w0"]
    assert ids(in_order(queued, [], {"alice": 1.0, "bob": 5.0})) == ["w0", "w1"]


def test_two_users_of_runs_that_fill_the_cluster_get_it_for_the_same_time() -> None:
    """Alice has submitted everything first, and her runs are three times as long."""
    queued = [*waiting(*[2] * 40), *waiting(*[2] * 40, owner="bob", first=40)]
    usage, now, spent = Usage(0.0), 0.0, Counter[str]()
    for _ in range(40):
        [run_id] = decide(queued, [], 2, usage=usage.cpu_seconds).start
        run = next(run for run in queued if run.id == run_id)
        seconds = 30.0 if run.owner == "alice" else 10.0
        queued.remove(run)
        now += seconds
        usage.pass_time(now, {run.owner: run.cpus})
        spent[run.owner] += int(seconds)
    assert abs(spent["alice"] - spent["bob"]) <= 30


def test_usage_halves_in_an_hour_and_is_forgotten_in_the_end() -> None:
    usage = Usage(5.0)
    usage.pass_time(15.0, {"alice": 2})
    assert usage.cpu_seconds == {"alice": 20.0}
    usage.pass_time(15.0 + HALF_LIFE_SECONDS, {})
    assert usage.cpu_seconds == {"alice": pytest.approx(10.0)}
    usage.pass_time(15.0 + 40 * HALF_LIFE_SECONDS, {})
    assert usage.cpu_seconds == {}


# --- preemption ---------------------------------------------------------------------------------


@pytest.mark.slow
@given(situation=situations(), limits=LIMITS, usage=USAGE)
def test_only_a_strictly_lower_priority_gives_way(
    situation: tuple[list[Waiting], list[Running], int], limits: UserLimits, usage: dict[str, float]
) -> None:
    queued, active, cores = situation
    found = {run.id: run for run in [*queued, *active]}
    for victim, by in decide(queued, active, cores, limits, usage).preempt.items():
        assert found[victim].priority < found[by].priority
        assert victim in {run.id for run in active if run.preemptible and not run.yielding}


@pytest.mark.slow
@given(situation=situations())
def test_what_gives_way_makes_room_and_does_not_ask_for_it_back(
    situation: tuple[list[Waiting], list[Running], int],
) -> None:
    """Everybody is one user, so the order does not depend on what they hold."""
    queued = [replace(run, owner="") for run in situation[0]]
    active, cores = [replace(run, owner="") for run in situation[1]], situation[2]
    decision = decide(queued, active, cores)
    found = {run.id: run for run in queued}
    victims = [run for run in active if run.id in decision.preempt]
    staying = [
        *(run for run in active if run not in victims and not run.yielding),
        *(Running(i, "", found[i].priority, found[i].cpus, 90) for i in decision.start),
    ]
    waits = [
        *(run for run in queued if run.id not in decision.start),
        *(Waiting(v.id, "", v.priority, v.cpus, 100 + n) for n, v in enumerate(victims)),
    ]
    later = decide(waits, staying, cores)
    assert set(decision.preempt.values()) <= set(later.start)
    assert not set(later.preempt.values()) & {victim.id for victim in victims}


@pytest.mark.slow
@given(situation=situations(), limits=LIMITS)
def test_without_preemption_nothing_gives_way(
    situation: tuple[list[Waiting], list[Running], int], limits: UserLimits
) -> None:
    queued, active, cores = situation
    assert not decide(queued, active, cores, limits, preemption=False).preempt


def test_the_lowest_and_then_the_latest_started_give_way() -> None:
    active = [Running("a", "", 1, 1, 1), Running("b", "", 0, 1, 2), Running("c", "", 0, 1, 3)]
    for cpus, expected in ((1, {"c"}), (2, {"b", "c"}), (3, {"a", "b", "c"})):
        decision = decide(waiting(cpus, priority=2), active, 3)
        assert decision.preempt == dict.fromkeys(expected, "w0")
        assert decision.start == []
        assert reasons(decision)[0].endswith("0 free; others are stopping")


def test_nobody_gives_way_for_nothing() -> None:
    active = [Running("small", "", 0, 1, 2), Running("large", "", 0, 3, 1)]
    assert decide(waiting(3, priority=1), active, 4).preempt == {"large": "w0"}
    equals = [Running("a", "", 1, 3, 1), Running("b", "", 0, 1, 2)]
    assert decide(waiting(4, priority=1), equals, 4).preempt == {}


def test_those_that_are_stopping_already_are_waited_for() -> None:
    stopping = [replace(run, yielding=True) for run in running(1)]
    low = Running("low", "", 0, 1, 5)
    decision = decide(waiting(1, priority=1), [*stopping, low], 2)
    assert decision.preempt == {}
    assert reasons(decision) == ["needs 1 CPU, 0 free; others are stopping"]
    # But there is nobody else who could use their room.
    decision = decide(waiting(1, 1, priority=1), [*stopping, low], 2)
    assert decision.preempt == {"low": "w1"}


def test_a_run_that_cannot_be_told_to_stop_is_left_alone() -> None:
    active = [replace(run, preemptible=False) for run in running(2)]
    assert not decide(waiting(1, priority=1), active, 2).preempt


def test_nobody_gives_way_to_a_run_whose_user_is_at_a_limit() -> None:
    decision = decide(waiting(1, priority=1), running(2), 2, UserLimits(runs=1))
    assert not decision.preempt


# --- estimates ----------------------------------------------------------------------------------


def lasting(*seconds: float | None, cpus: int = 1) -> list[Running]:
    return [
        replace(r, seconds_left=s)
        for r, s in zip(running(*[cpus] * len(seconds)), seconds, strict=True)
    ]


def test_a_run_starts_when_enough_of_the_others_have_ended() -> None:
    assert forecast.starts(waiting(1), lasting(30, 10), 2) == {"w0": 10}
    assert forecast.starts(waiting(2), lasting(30, 10), 2) == {"w0": 30}
    assert forecast.starts(waiting(1), lasting(30), 2) == {"w0": 0}


def test_what_waits_for_something_of_unknown_length_has_no_estimate() -> None:
    assert forecast.starts(waiting(1, 1), lasting(10, None), 2) == {"w0": 10}
    first = replace(waiting(1)[0], seconds_left=5)
    assert forecast.starts([first, *waiting(1, first=1)], lasting(10, None), 2) == {
        "w0": 10,
        "w1": 15,
    }


def test_an_estimate_knows_the_limits_and_that_nobody_overtakes() -> None:
    bob = waiting(1, owner="bob", first=1)
    assert forecast.starts([*waiting(1), *bob], lasting(10), 2, UserLimits(runs=1)) == {
        "w0": 10,
        "w1": 0,
    }
    assert forecast.starts(waiting(2, 1), lasting(10, None), 3) == {"w0": 10}


@pytest.mark.slow
@given(situation=situations(), limits=LIMITS)
def test_whatever_starts_now_is_estimated_to(
    situation: tuple[list[Waiting], list[Running], int], limits: UserLimits
) -> None:
    queued, active, cores = situation
    decision = decide(queued, active, cores, limits, preemption=False)
    by_id = {run.id: run for run in queued}
    found = forecast.starts([by_id[i] for i in decision.places], active, cores, limits)
    assert all(found[run_id] == 0 for run_id in decision.start)
    assert all(seconds >= 0 for seconds in found.values())


# --- cores --------------------------------------------------------------------------------------


@given(cores=st.integers(1, 64))
def test_every_worker_finds_room_however_runs_were_scaled(cores: int) -> None:
    active = len(decide(waiting(*[1] * (cores + 1)), [], cores).start)
    assert active == cores
    parts = round(worker_cpus(cores) * RAY_UNITS)
    assert 0 < parts * active * workers_limit(cores) <= cores * RAY_UNITS


def test_so_many_workers_may_share_a_core() -> None:
    assert workers_limit(2) == 2 * WORKERS_PER_CORE == 8
