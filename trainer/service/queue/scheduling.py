"""Which waiting runs start, which running ones give way, and what the others wait for.

Decisions only, without I/O and without a clock. The order: the higher priority first; within a
priority, the user who holds the fewest CPUs, then the one who has used the least lately; then the
order of submission. No run overtakes the first one that does not fit, so small runs do not keep a
large one waiting. Only a run whose user is at a limit is passed over.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

WORKERS_PER_CORE = 4
"""Workers that may share a core; more would only wait for each other."""

RAY_UNITS = 10_000
"""Parts of a core in which Ray counts."""


def workers_limit(cores: int) -> int:
    """The largest worker count that one run may ask for."""
    return cores * WORKERS_PER_CORE


def worker_cpus(cores: int) -> float:
    """The share of a core that Ray reserves for each worker: so small that none ever waits.

    The queue decides how much runs at once. A run that is given more workers while it runs gets
    them at once, also when every active run has as many as it can have.
    """
    return max(1, RAY_UNITS // workers_limit(cores)) / RAY_UNITS


def run_cpus(workers: int, cores: int) -> int:
    """The CPUs that a run holds."""
    return min(workers, cores)


@dataclass(frozen=True)
class UserLimits:
    """What one user may have at once; None is no limit.

    Attributes:
        waiting: runs that are queued or paused, which the service keeps in memory.
        priority: the highest that users may ask for; admins may ask for any.
    """

    runs: int | None = None
    cpus: int | None = None
    waiting: int = 10_000
    priority: int = 0


NO_LIMITS = UserLimits()


@dataclass(frozen=True)
class Waiting:
    """A run that waits.

    Attributes:
        number: ascends in the order of submission; no two runs have the same.
        seconds_left: how long it would still take; None where that is not known.
    """

    id: str
    owner: str
    priority: int
    cpus: int
    number: int
    seconds_left: float | None = None


@dataclass(frozen=True)
class Running:
    """A run that holds CPUs.

    Attributes:
        number: ascends in the order of start.
        yielding: has been asked to stop and is expected to do so soon.
        preemptible: can stop at a snapshot, and has not been asked to yet.
        seconds_left: as of Waiting.
    """

    id: str
    owner: str
    priority: int
    cpus: int
    number: int
    yielding: bool = False
    preemptible: bool = True
    seconds_left: float | None = None


@dataclass(frozen=True)
class Place:
    """A waiting run's place in the queue.

    Attributes:
        position: from 1.
        reason: what the run waits for; empty if it starts now.
    """

    position: int
    reason: str


@dataclass(frozen=True)
class Decision:
    """What starts, what gives way and what waits.

    Attributes:
        start: ids, in the order in which they start.
        preempt: the ids of runs that give way, each with the id of the one it gives way to.
        places: of all waiting runs by their ids, in the order of their positions.
    """

    start: list[str] = field(default_factory=list)
    preempt: dict[str, str] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)


def decide(
    waiting: Iterable[Waiting],
    running: Sequence[Running],
    cores: int,
    limits: UserLimits = NO_LIMITS,
    usage: Mapping[str, float] | None = None,
    preemption: bool = True,
) -> Decision:
    """What starts, what gives way and what waits.

    A run that does not fit has others give way if preemption is on: those of a strictly lower
    priority, the lowest and then the latest started first, no more than it needs, and none unless
    it then fits. It starts when they have stopped.

    Args:
        usage: what each user has used lately, see ``Usage``; 0 for users that it does not have.
    """
    decision = Decision()
    tally = Tally(running)
    free = cores - sum(run.cpus for run in running)
    # CPUs that are free once those that yield have stopped and those before this one have started.
    room = free + sum(run.cpus for run in running if run.yielding)
    victims = [run for run in running if run.preemptible and not run.yielding]
    first_blocked: Waiting | None = None
    makes_room = True  # for all runs so far
    for position, run in enumerate(in_order(waiting, running, usage or {}), 1):
        reason = tally.reason(run, limits)
        if not reason and first_blocked is None and run.cpus <= free:
            decision.start.append(run.id)
            free, room = free - run.cpus, room - run.cpus
            tally.add(run)
        elif not reason:
            first_blocked = first_blocked or run
            chosen = None
            if makes_room and (preemption or run.cpus <= room):
                chosen = choose_victims(victims, run.priority, run.cpus - room)
            makes_room = chosen is not None
            if chosen is not None:
                decision.preempt.update(dict.fromkeys((v.id for v in chosen), run.id))
                victims = [v for v in victims if v not in chosen]
                room += sum(v.cpus for v in chosen) - run.cpus
                tally.add(run)
            reason = _reason(run, first_blocked, free, makes_room)
        decision.places[run.id] = Place(position, reason)
    return decision


def choose_victims(running: Iterable[Running], priority: int, cpus: int) -> list[Running] | None:
    """Runs below a priority that free so many CPUs, all of them needed; None if there are not."""
    below = sorted(
        (run for run in running if run.priority < priority),
        key=lambda run: (run.priority, -run.number),
    )
    chosen: list[Running] = []
    spare = -cpus
    for run in below:
        if spare >= 0:
            break
        chosen.append(run)
        spare += run.cpus
    if spare < 0:
        return None
    for run in reversed(chosen[:]):
        if run.cpus <= spare:
            chosen.remove(run)
            spare -= run.cpus
    return chosen


def in_order(
    waiting: Iterable[Waiting], running: Iterable[Running], usage: Mapping[str, float]
) -> list[Waiting]:
    """The runs in the order in which they would start, if each held its CPUs from then on."""
    held: Counter[str] = Counter()
    for active in running:
        held[active.owner] += active.cpus
    queues: dict[int, dict[str, list[Waiting]]] = {}
    for run in sorted(waiting, key=lambda run: run.number, reverse=True):
        queues.setdefault(run.priority, {}).setdefault(run.owner, []).append(run)
    order: list[Waiting] = []
    for _, by_owner in sorted(queues.items(), reverse=True):
        heap = [(held[o], usage.get(o, 0.0), runs[-1].number, o) for o, runs in by_owner.items()]
        heapq.heapify(heap)
        while heap:
            owner = heap[0][3]
            run = by_owner[owner].pop()
            order.append(run)
            held[owner] += run.cpus
            if by_owner[owner]:
                following = by_owner[owner][-1].number
                heapq.heapreplace(heap, (held[owner], usage.get(owner, 0.0), following, owner))
            else:
                heapq.heappop(heap)
    return order


class Tally:
    """Counts the runs and CPUs that each user holds."""

    def __init__(self, running: Iterable[Running] = ()) -> None:
        self._runs: Counter[str] = Counter()
        self._cpus: Counter[str] = Counter()
        for run in running:
            self.add(run)

    def add(self, run: Waiting | Running) -> None:
        self._runs[run.owner] += 1
        self._cpus[run.owner] += run.cpus

    def remove(self, run: Waiting | Running) -> None:
        self._runs[run.owner] -= 1
        self._cpus[run.owner] -= run.cpus

    def reason(self, run: Waiting, limits: UserLimits) -> str:
        """The limit that keeps the run waiting; empty if it is within its user's limits."""
        who = run.owner or "its user"
        runs, cpus = self._runs[run.owner], self._cpus[run.owner]
        if limits.runs is not None and runs >= limits.runs:
            return f"{who} has {runs} of {limits.runs} runs"
        if limits.cpus is not None and cpus + run.cpus > limits.cpus:
            return f"{who} has {cpus} of {limits.cpus} CPUs, it needs {run.cpus}"
        return ""


def _reason(run: Waiting, first: Waiting, free: int, makes_room: bool) -> str:
    """Why a run within its user's limits does not start."""
    if run.id != first.id:
        return f"{first.id} is before it"
    needs = f"needs {run.cpus} CPU{'s' if run.cpus > 1 else ''}, {max(free, 0)} free"
    return f"{needs}; others are stopping" if makes_room else needs
