"""Who takes part in a run: which workers are admitted, refused or gone, and when none is left.

A state machine without input or output, as the dispatch is: events in, instructions out; time comes
in with the events. Which worker computes what is decided by the dispatch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sumgrad.workers.host.fingerprint import Fingerprint
from sumgrad.workers.v1 import work_pb2

RUNNER = "runner"
"""The name under which the runner connects; workers have other names."""

ANSWER_SECONDS = 600.0
"""A run in which every worker is silent for this long has failed."""

FingerprintPolicy = Literal["strict", "any"]


@dataclass(frozen=True)
class Spoke:
    """A message has arrived."""

    peer: str


@dataclass(frozen=True)
class JoinRequested:
    worker: str
    join: work_pb2.Join


@dataclass(frozen=True)
class Admitted:
    """What ``Admit`` asked for is done."""

    worker: str
    data_digest: str


@dataclass(frozen=True)
class AdmissionFailed:
    """What ``Admit`` asked for cannot be done, for a reason that no replacement would change."""

    worker: str
    problem: str


@dataclass(frozen=True)
class AnswerUsed:
    worker: str


@dataclass(frozen=True)
class WorkerFailed:
    """A worker says that it cannot go on; if ``permanent``, neither could another one."""

    worker: str
    message: str
    permanent: bool


@dataclass(frozen=True)
class WorkerGone:
    """The runner or the operating system says that a worker's process has ended."""

    worker: str
    reason: str


@dataclass(frozen=True)
class WorkerExpelled:
    """The dispatch has given up a worker that did not answer for ``silent_seconds``."""

    worker: str
    silent_seconds: float


@dataclass(frozen=True)
class WorkerReleased:
    """The dispatch has let a retired worker go."""

    worker: str


@dataclass(frozen=True)
class PauseRequested:
    pass


@dataclass(frozen=True)
class CancelRequested:
    pass


@dataclass(frozen=True)
class RoundStarted:
    """Answers are expected from now on."""


@dataclass(frozen=True)
class RoundEnded:
    pass


@dataclass(frozen=True)
class NothingExpected:
    """The server is busy with something that needs no answer of a worker."""


@dataclass(frozen=True)
class Tick:
    """Time has passed, and every message that has arrived has been handled."""


Event = (
    Spoke | JoinRequested | Admitted | AdmissionFailed | AnswerUsed | WorkerFailed | WorkerGone
    | WorkerExpelled | WorkerReleased | PauseRequested | CancelRequested | RoundStarted
    | RoundEnded | NothingExpected | Tick
)  # fmt: skip


@dataclass(frozen=True)
class Admit:
    """Connect the worker's memory; then comes ``Admitted`` or ``AdmissionFailed``.

    Neither comes if the worker's process has ended meanwhile: the runner will say so.
    """

    worker: str
    join: work_pb2.Join


@dataclass(frozen=True)
class Enlist:
    """Tell the dispatch that it may give this worker something to compute."""

    worker: str


@dataclass(frozen=True)
class Strike:
    """Tell the dispatch that this worker computes nothing any more."""

    worker: str


@dataclass(frozen=True)
class Forget:
    """Let go of the worker's memory."""

    worker: str


@dataclass(frozen=True)
class Stop:
    """Tell the worker that there is no more work; ``refused`` says why there never was any."""

    worker: str
    refused: str = ""


@dataclass(frozen=True)
class EndProcess:
    """Have the runner end a worker that may not obey any more."""

    worker: str
    reason: str


@dataclass(frozen=True)
class ReportJoined:
    worker: str


@dataclass(frozen=True)
class ReportLeft:
    worker: str
    reason: str


@dataclass(frozen=True)
class Warn:
    """Tell the run's user of something that the run survives."""

    message: str


@dataclass(frozen=True)
class Fail:
    """The run has failed. It is over with this, ``BreakOff`` and ``Cancel``."""

    message: str


@dataclass(frozen=True)
class BreakOff:
    """The run is to pause, and no worker is left that could complete the round."""


@dataclass(frozen=True)
class Cancel:
    pass


Instruction = (
    Admit | Enlist | Strike | Forget | Stop | EndProcess | ReportJoined | ReportLeft | Warn | Fail
    | BreakOff | Cancel
)  # fmt: skip

OVER = (Fail, BreakOff, Cancel)
"""The instructions after which there is nothing more to do."""


@dataclass
class Membership:
    """The state between events.

    Attributes:
        expected: workers that the run is to begin with.
        policy: what becomes of a worker that computes with other bits.
        fingerprint: what decides the bits that this process computes.
        present: peers that have spoken and are not known to be gone.
        working: admitted workers that have not left; the same ones as the dispatch has.
        contributors: those among them of which an answer was used.
        slots: slots that have had a worker.
        refused_slots: those among them whose last worker was refused.
        other_bits: workers that were admitted with another fingerprint, and in what it differs;
            the training loop adds what an earlier attempt knows.
        data_digest: of the data that all workers must have read: those of the first one, unless
            the training loop knows better; empty before that.
        pausing: the runner has asked for a pause.
        in_round: a round has begun and is not complete.
        last_message: when a message of a worker last came or, if later, none was expected.
    """

    expected: int
    policy: FingerprintPolicy
    fingerprint: Fingerprint
    present: set[str] = field(default_factory=set)
    working: set[str] = field(default_factory=set)
    contributors: set[str] = field(default_factory=set)
    slots: set[str] = field(default_factory=set)
    refused_slots: set[str] = field(default_factory=set)
    other_bits: dict[str, str] = field(default_factory=dict)
    data_digest: str = ""
    pausing: bool = False
    in_round: bool = False
    last_message: float = 0.0

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Take one event; what is returned is to be done in order.

        Args:
            now: seconds of a clock that never goes back.
        """
        found = self._handle(event, now)
        for i in range(len(found) - 1):  # one that is the last needs no cut
            if isinstance(found[i], OVER):
                return found[: i + 1]
        return found

    def _handle(self, event: Event, now: float) -> list[Instruction]:
        match event:
            case Spoke(peer):
                self.present.add(peer)
                if peer != RUNNER:
                    self.last_message = now
            case AnswerUsed(worker):
                if worker not in self.contributors:
                    self.contributors.add(worker)
                    return [ReportJoined(worker)]
            case RoundStarted():
                self.in_round, self.last_message = True, now
            case RoundEnded():
                self.in_round = False
            case NothingExpected():
                self.last_message = now
            case Tick():
                return self._look_for_silence(now)
            case JoinRequested(worker, join):
                return self._consider(worker, join)
            case Admitted(worker, data_digest):
                self.data_digest = data_digest
                self.working.add(worker)
                self.contributors.discard(worker)
                return [Enlist(worker)]
            case AdmissionFailed(worker, problem):
                return [Fail(f"{worker} cannot share memory: {problem}")]
            case WorkerFailed(worker, message, permanent):
                reason = f"{worker} failed: {message}"
                return self._lose(worker, reason) + ([Fail(reason)] if permanent else [])
            case WorkerGone(worker, reason):
                return self._lose(worker, reason)
            case WorkerExpelled(worker, seconds):
                reason = f"{worker} was expelled: it has not answered for {seconds:.0f} s"
                return self._let_go(worker, reason, EndProcess(worker, reason))
            case WorkerReleased(worker):
                return self._let_go(worker, f"{worker} was retired")
            case PauseRequested():
                self.pausing = True
                return self._break_off_if_nobody_works()
            case CancelRequested():
                return [Cancel()]
        return []

    def stop_all(self) -> list[Stop]:
        """Stop every worker that has come, also those that were not admitted yet."""
        return [Stop(worker) for worker in sorted(self.present - {RUNNER})]

    def _look_for_silence(self, now: float) -> list[Instruction]:
        if now - self.last_message < ANSWER_SECONDS:
            return []
        message = f"no worker has answered for {ANSWER_SECONDS:.0f} s; see the run's logs"
        return [Fail(message)]

    def _consider(self, worker: str, join: work_pb2.Join) -> list[Instruction]:
        """Admit or refuse a worker that wants to join."""
        self.slots.add(_slot(worker))
        self.refused_slots.discard(_slot(worker))
        if self.data_digest not in ("", join.data_digest):
            return self._refuse(
                worker,
                f"{worker} has read other data (digest {join.data_digest[:16]}… instead of "
                f"{self.data_digest[:16]}…), so it was refused; have every host read the same "
                "files",
            )
        if join.fingerprint == self.fingerprint.digest:
            return [Admit(worker, join)]
        theirs = Fingerprint(join.fingerprint, dict(join.fingerprint_parts))
        differ = theirs.differences(self.fingerprint.parts) or "fingerprint"
        reason = f"{worker} computes with other bits ({differ})"
        if self.policy == "any":
            known = worker in self.other_bits
            self.other_bits[worker] = reason
            warning = [] if known else [Warn(f"{reason}; the result is not bitwise")]
            return [*warning, Admit(worker, join)]
        return self._refuse(
            worker,
            f"{reason}, so it was refused; use hosts of one kind, "
            'or allow other bits with workers.fingerprint = "any"',
        )

    def _refuse(self, worker: str, reason: str) -> list[Instruction]:
        """Refuse a worker; the run has failed if no worker is at work and every slot is refused."""
        self.refused_slots.add(_slot(worker))
        self.present.discard(worker)
        all_are = len(self.refused_slots) >= max(self.expected, len(self.slots))
        hopeless = all_are and not self.working
        return [Stop(worker, reason), Fail(reason) if hopeless else Warn(reason)]

    def _lose(self, worker: str, reason: str) -> list[Instruction]:
        """Remove a worker that has ended; the record has only those that were admitted."""
        was_working = worker in self.working
        self._remove(worker)
        left: list[Instruction] = []
        if was_working:
            left = [Strike(worker), ReportLeft(worker, reason)]
        return [*left, Forget(worker), *self._break_off_if_nobody_works()]

    def _let_go(self, worker: str, reason: str, *more: Instruction) -> list[Instruction]:
        """Stop a worker that the dispatch has removed already."""
        self._remove(worker)
        return [
            Stop(worker),
            Forget(worker),
            ReportLeft(worker, reason),
            *more,
            *self._break_off_if_nobody_works(),
        ]

    def _remove(self, worker: str) -> None:
        for group in (self.present, self.working, self.contributors):
            group.discard(worker)

    def _break_off_if_nobody_works(self) -> list[Instruction]:
        hopeless = self.pausing and self.in_round and not self.working
        return [BreakOff()] if hopeless else []


def _slot(worker: str) -> str:
    """The slot that a worker fills: that of worker-0.1 is worker-0."""
    return worker.partition(".")[0]
