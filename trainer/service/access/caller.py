"""Who makes a call, and what that caller may see."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum

from sumgrad.trainer.v1 import run_pb2


class Role(Enum):
    """What a user may do; each role includes those before it."""

    VIEWER = "viewer"
    SUBMITTER = "submitter"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        order = list(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True)
class Caller:
    """A user in a role. A run belongs to who submitted it; admins see the runs of all."""

    user: str
    role: Role

    @property
    def owner(self) -> str | None:
        """The user whose runs the caller sees; None for all runs."""
        return None if self.role is Role.ADMIN else self.user

    def sees(self, run: run_pb2.Run) -> bool:
        return self.owner in (None, run.owner)


class NotAllowedError(Exception):
    """The caller's role may not call the method."""

    def __init__(self, caller: Caller, method: str) -> None:
        super().__init__(
            f"{caller.user or 'everybody'} has the role {caller.role.value} here, which may not "
            f"call {method.rpartition('/')[2]}; ask for a token of another role"
        )


class PriorityNotAllowedError(Exception):
    """The caller's role may not ask for so high a priority."""

    def __init__(self, caller: Caller, highest: int, priority: int) -> None:
        super().__init__(
            f"priority must be at most {highest} for {caller.user}, who has the role "
            f"{caller.role.value} here, got {priority}; have an admin submit the run, or ask the "
            "operator for another `serve --max-priority`"
        )
        self.field = "priority"


LOCAL_ADMIN = Caller("", Role.ADMIN)
"""The caller of a service that asks for no token."""

_CALLER: ContextVar[Caller] = ContextVar("caller", default=LOCAL_ADMIN)


def current_caller() -> Caller:
    """The caller of the call that is being answered."""
    return _CALLER.get()


def set_caller(caller: Caller) -> None:
    """Set the caller for the rest of the call; gRPC gives each call a task of its own."""
    _CALLER.set(caller)
