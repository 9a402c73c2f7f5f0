"""Which worker fills which slot: one a slot, replaced when it ends, more or fewer on request.

Without input or output: what is returned is to be done by whoever asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FAILURES = 3
"""A slot whose workers end this often in a row, none having contributed, fails the run. If the
server refused them and other workers are left, the slot stays empty instead."""


class SlotFailedError(RuntimeError):
    """Every worker in a slot ends; the message names the slot and the last reason."""


@dataclass(frozen=True)
class StartWorker:
    """Start a worker of this name; no other of its group has had it."""

    name: str


@dataclass(frozen=True)
class RetireWorker:
    """Let this worker go when it has answered what it is computing."""

    name: str


@dataclass(frozen=True)
class SlotLeftEmpty:
    """Warn that no worker is started in this slot any more."""

    slot: int
    reason: str

    def __str__(self) -> str:
        return (
            f"worker slot {self.slot} stays empty, because its workers are refused again and "
            f"again; the last time: {self.reason}"
        )


Change = StartWorker | RetireWorker | SlotLeftEmpty


@dataclass
class Member:
    """A worker that was started and has not ended.

    Attributes:
        retired: it was asked to leave.
    """

    slot: int
    retired: bool = False


@dataclass
class WorkerGroup:
    """The slots of one parameter server and the workers in them.

    Attributes:
        members: by name.
        failures: endings in a row of each slot's workers that had not contributed.
        generations: workers that each slot has had.
        count: slots that are to be filled.
        empty: those among them that stay empty until another number is asked for.
    """

    members: dict[str, Member] = field(default_factory=dict)
    failures: dict[int, int] = field(default_factory=dict)
    generations: dict[int, int] = field(default_factory=dict)
    count: int = 0
    empty: set[int] = field(default_factory=set)

    def resize(self, count: int) -> list[Change]:
        """Have ``count`` slots filled, and the workers of all others leave."""
        if count != self.count:
            self.count = count
            self.empty.clear()
        changes: list[Change] = []
        for name, member in self.members.items():
            if member.slot >= count and not member.retired:
                member.retired = True
                changes.append(RetireWorker(name))
        filled = {member.slot for member in self.members.values() if not member.retired}
        changes += [self._fill(slot) for slot in range(count) if slot not in filled | self.empty]
        return changes

    def contributed(self, name: str) -> None:
        """An answer of this worker was used, so its slot works."""
        if name in self.members:
            self.failures.pop(self.members[name].slot, None)

    def ended(self, name: str, reason: str, refused: bool = False) -> list[Change]:
        """A member's process has ended; unless it was retired, its slot is filled again.

        Args:
            refused: the server did not admit it, and may not admit the next one either.

        Raises:
            SlotFailedError: the slot is given up.
        """
        member = self.members.pop(name)
        slot = member.slot
        if member.retired:
            return []
        failures = self.failures[slot] = self.failures.get(slot, 0) + 1
        if failures < FAILURES:
            return [self._fill(slot)]
        if refused and not all(other.retired for other in self.members.values()):
            self.failures.pop(slot)
            self.empty.add(slot)
            return [SlotLeftEmpty(slot, reason)]
        raise SlotFailedError(
            f"worker slot {slot} failed {failures} times in a row without an answer; "
            f"the last time: {reason}"
        )

    def _fill(self, slot: int) -> StartWorker:
        generation = self.generations.get(slot, 0)
        self.generations[slot] = generation + 1
        name = f"worker-{slot}" if generation == 0 else f"worker-{slot}.{generation}"
        self.members[name] = Member(slot)
        return StartWorker(name)
