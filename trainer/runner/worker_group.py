"""The worker actors of a run: one a slot, replaced when it dies, more or fewer on request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

FAILURES = 3
"""A slot whose workers die this often in a row, none having contributed, fails the run. If it is
that the server refused them, and others work, the slot stays empty instead."""

Actor = Any
Work = Any
"""A ray.ObjectRef: what an actor is doing."""


class SlotFailedError(RuntimeError):
    """Every worker in a slot dies; the message names the slot and the last reason."""


@dataclass
class Member:
    """A worker that was started.

    Attributes:
        wanted: False once it has been asked to leave.
    """

    name: str
    slot: int
    actor: Actor
    wanted: bool = True


@dataclass
class Crew:
    """Who works, and who is to.

    Attributes:
        start: starts a worker of this name: the actor, and what it is doing.
        members: by what they are doing.
        failures: deaths in a row of each slot's workers that had not contributed.
        generations: workers that each slot has had.
        count: slots that are to be filled.
        empty: those among them that stay empty, until another number is asked for.
    """

    start: Callable[[str], tuple[Actor, Work]]
    members: dict[Work, Member] = field(default_factory=dict)
    failures: dict[int, int] = field(default_factory=dict)
    generations: dict[int, int] = field(default_factory=dict)
    count: int = 0
    empty: set[int] = field(default_factory=set)

    def resize(self, count: int) -> list[str]:
        """Have ``count`` slots filled; the names of members that are to leave."""
        if count != self.count:
            self.count = count
            self.empty.clear()
        leaving = []
        for member in self.members.values():
            if member.slot >= count and member.wanted:
                member.wanted = False
                leaving.append(member.name)
        filled = {member.slot for member in self.members.values() if member.wanted}
        for slot in range(count):
            if slot not in filled | self.empty:
                self._fill(slot)
        return leaving

    def contributed(self, name: str) -> None:
        """An answer of this worker was used, so its slot works."""
        for member in self.members.values():
            if member.name == name:
                self.failures.pop(member.slot, None)

    def ended(self, work: Work, reason: str, refused: bool = False) -> Member:
        """A member's work is over; a wanted one is replaced.

        Args:
            refused: the server did not want it, so another one may fare no better.

        Raises:
            SlotFailedError: the slot is given up.
        """
        member = self.members.pop(work)
        if member.wanted:
            failures = self.failures.get(member.slot, 0) + 1
            self.failures[member.slot] = failures
            if (
                failures >= FAILURES
                and refused
                and any(one.wanted for one in self.members.values())
            ):
                self.failures.pop(member.slot)
                self.empty.add(member.slot)
                return member
            if failures >= FAILURES:
                raise SlotFailedError(
                    f"worker slot {member.slot} failed {failures} times in a row without an "
                    f"answer; the last time: {reason}"
                )
            self._fill(member.slot)
        return member

    def actor(self, name: str) -> Actor | None:
        """The actor of a member, if there still is one of this name."""
        found = [member.actor for member in self.members.values() if member.name == name]
        return found[0] if found else None

    def _fill(self, slot: int) -> None:
        """Start a worker in a slot, under a name that no other has had."""
        generation = self.generations.get(slot, 0)
        self.generations[slot] = generation + 1
        name = f"worker-{slot}" if generation == 0 else f"worker-{slot}.{generation}"
        actor, work = self.start(name)
        self.members[work] = Member(name, slot, actor)
