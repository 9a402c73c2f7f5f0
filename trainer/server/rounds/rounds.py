"""Rounds of work: what the state machine decides becomes messages, and messages become events.

Everything that the parameter server hears from its workers and its runner, and says to them,
passes here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal

import zmq
from threadpoolctl import threadpool_limits

from sumgrad.trainer.server.channel.log_lines import log_lines
from sumgrad.trainer.server.channel.server_endpoint import Received, ServerEndpoint
from sumgrad.trainer.server.rounds.answers import RoundAnswers
from sumgrad.trainer.server.rounds.dispatch import (
    Accept,
    Answered,
    Assign,
    Dispatch,
    Event,
    Expel,
    Range,
    Release,
    RoundBegan,
    RoundComplete,
    Tick,
    WorkerJoined,
    WorkerLost,
    WorkerRetired,
)
from sumgrad.trainer.v1 import run_pb2, runner_pb2
from sumgrad.workers.channel import ProcessGoneError, SharedMemoryError
from sumgrad.workers.host.fingerprint import Fingerprint, fingerprint
from sumgrad.workers.logs.log_buffer import LogBuffer
from sumgrad.workers.summation_tree import cover
from sumgrad.workers.v1 import work_pb2

RUNNER = "runner"
"""The name under which the runner connects; workers have other names."""

PING_SECONDS = 5.0
ANSWER_SECONDS = 600.0
"""A run in which no worker says anything for this long has failed."""

TICK_SECONDS = 0.05
"""While nothing is heard, deadlines are looked at this often, and what else is waited for."""

JOIN_SECONDS = 10.0
"""Training begins without the workers that are later than the first one by this much."""

FingerprintPolicy = Literal["strict", "any"]


class RunFailedError(RuntimeError):
    """The run cannot go on; the message is for its user."""


class RunCancelledError(Exception):
    """The runner asked to stop."""


class NobodyWorksError(Exception):
    """The run is to pause in the middle of a round, and no worker is there to end it."""


class Rounds:
    """Has workers compute rounds, whoever comes and goes.

    Args:
        workers: how many will join.
        policy: what becomes of a worker that computes with other bits.
        clock: seconds, never going back; what late and silent workers are measured by.
        log: the runner is sent what comes there.

    Attributes:
        step: steps done so far, for reports of who came and went; the training loop sets it.
        pausing: the runner has asked for a pause.
        other_bits: workers that were admitted with another fingerprint, and in what it differs.
        data_digest: of the data that all workers must have read: those of the first one, unless
            the training loop knows better; empty before that.
        fingerprint: what decides the bits that this process computes.
    """

    def __init__(
        self,
        endpoint: ServerEndpoint,
        workers: int,
        policy: FingerprintPolicy,
        clock: Callable[[], float],
        log: LogBuffer | None = None,
    ) -> None:
        self.step = 0
        self.pausing = False
        self.other_bits: dict[str, str] = {}
        self.data_digest = ""
        self._endpoint = endpoint
        self._expected = workers
        self._policy = policy
        self._clock = clock
        self._log = log
        self._heard = self._pinged = clock()
        self._dispatch = Dispatch()
        # What of the dispatch's counts has been reported.
        self._reported = run_pb2.DispatchCounts()
        # Whoever has said anything and is not known to be gone.
        self._spoken: set[str] = set()
        self._task = work_pb2.Task()
        self._answers = RoundAnswers()
        # Workers of which an answer was used.
        self._contributors: set[str] = set()
        # Slots that have had a worker, and those whose last worker was refused.
        self._slots: set[str] = set()
        self._refused: set[str] = set()
        # Workers have one BLAS thread each, whatever this process has.
        with threadpool_limits(1, user_api="blas"):
            self.fingerprint = fingerprint()

    @property
    def workers(self) -> int:
        """How many are at work."""
        return len(self._dispatch.assigned)

    def gather(self) -> None:
        """Wait for the runner, so that no report is lost, and for the workers.

        A worker that is much later than the first one joins when it comes. Where the run is to
        pause or to stop, nobody is waited for.
        """
        messages = []
        deadline = time.monotonic() + ANSWER_SECONDS
        while RUNNER not in self._spoken or len(self._spoken) <= self._expected:
            silent = not self._spoken - {RUNNER}
            message = self._receive(max(0.0, deadline - time.monotonic()))
            if message is None:
                break
            if silent and message[0] != RUNNER:
                deadline = time.monotonic() + JOIN_SECONDS
            messages.append(message)
            if message[0] == RUNNER and _is_to_stop(message[1]):
                break
        for message in messages:
            self._take(*message)
        self._heard = self._clock()
        while not (self._dispatch.assigned or self.pausing):
            self._wait()

    def run(self, task: work_pb2.Task, units: int) -> RoundAnswers:
        """What the workers answer to a task over ``units`` shards or chunks.

        Raises:
            RunFailedError, RunCancelledError, NobodyWorksError
        """
        self._task, self._answers = task, RoundAnswers()
        task.round = self._dispatch.round + 1
        self._heard = self._clock()
        kind = task.WhichOneof("work")
        assert kind is not None
        complete = self._handle(RoundBegan(task.round, units, kind))
        while not complete:
            complete = self._wait()
        return self._answers

    def attend(self, done: Callable[[], bool], seconds: float) -> bool:
        """Hear and ping everybody until something else than a round is done.

        Returns:
            Whether it was within this time.

        Raises:
            RunFailedError, RunCancelledError
        """
        end = self._clock() + seconds
        while not done():
            self._heard = self._clock()  # nobody is waited for
            if self._heard >= end:
                return False
            self._wait()
        return True

    def stop(self) -> None:
        """Tell every worker that there is no more work, also those that were not admitted yet."""
        for worker in self._spoken - {RUNNER}:
            self._stop(worker)

    # What is heard.

    def _wait(self) -> bool:
        """Act on the next message or, if none comes for a while, on the passing of time.

        Returns:
            Whether the round is complete.
        """
        if self._log is not None and self._log.due():
            self.send_log()
        # Messages go first: a worker is not late because the server was.
        message = self._receive(TICK_SECONDS)
        now = self._clock()
        if now - self._pinged >= PING_SECONDS:
            self._ping()
            self._pinged = now
        if message is not None:
            if message[0] != RUNNER:
                self._heard = now
            return self._take(*message)
        for worker in self._endpoint.dead():
            self._lose(worker, f"the process of {worker} has died")
        if now - self._heard >= ANSWER_SECONDS:
            raise RunFailedError(
                f"no worker has answered for {ANSWER_SECONDS:.0f} s; see the run's logs"
            )
        due = self._dispatch.deadline()
        return due is not None and due <= now and self._handle(Tick())

    def _receive(self, timeout: float) -> Received | None:
        message = self._endpoint.receive(timeout)
        if message is not None:
            self._spoken.add(message[0])
        return message

    def _take(self, sender: str, message: bytes, frames: list[zmq.Frame]) -> bool:
        """Act on one message; True when the round is complete."""
        if sender == RUNNER:
            self._obey(runner_pb2.Command.FromString(message))
            return False
        content = work_pb2.WorkerMessage.FromString(message)
        match content.WhichOneof("kind"):
            case "join":
                self._admit(sender, content.join)
            case "failure":
                self._failed(sender, content.failure)
            case "log":
                self._pass_on(sender, content.log.lines)
            case "answer":
                answer = content.answer
                event = Answered(sender, answer.round, Range(answer.begin, answer.end))
                return self._handle(event, lambda: self._accept(sender, answer, frames))
        return False

    def _obey(self, command: runner_pb2.Command) -> None:
        match command.WhichOneof("kind"):
            case "cancel":
                raise RunCancelledError
            case "pause":
                self.pausing = True
                self._break_off_if_nobody_works()
            case "worker_retired":
                self._handle(WorkerRetired(command.worker_retired.worker))
            case "worker_lost":
                self._lose(command.worker_lost.worker, command.worker_lost.reason)

    def _admit(self, worker: str, join: work_pb2.Join) -> None:
        self._slots.add(_slot(worker))
        self._refused.discard(_slot(worker))
        refusal = self._other_data(worker, join) or self._other_bits(worker, join)
        if refusal:
            self._refuse(worker, refusal)
            return
        try:
            self._endpoint.admit(worker, join)
        except ProcessGoneError:
            return  # it died since; the runner will say so
        except SharedMemoryError as error:
            raise RunFailedError(f"{worker} cannot share memory: {error}") from None
        self.data_digest = join.data_digest
        self._contributors.discard(worker)
        self._handle(WorkerJoined(worker))

    def _other_data(self, worker: str, join: work_pb2.Join) -> str:
        """Why a worker may not compute, as far as its data goes; empty if it may."""
        if self.data_digest in ("", join.data_digest):
            return ""
        return (
            f"{worker} has read other data (digest {join.data_digest[:16]}… instead of "
            f"{self.data_digest[:16]}…), so it was refused; have every host read the same files"
        )

    def _other_bits(self, worker: str, join: work_pb2.Join) -> str:
        """Why a worker may not compute, as far as its fingerprint goes; empty if it may."""
        if join.fingerprint == self.fingerprint.digest:
            return ""
        theirs = Fingerprint(join.fingerprint, dict(join.fingerprint_parts))
        differ = theirs.differences(self.fingerprint.parts) or "fingerprint"
        reason = f"{worker} computes with other bits ({differ})"
        if self._policy == "any":
            if worker not in self.other_bits:
                self.warn(f"{reason}; the result is not bitwise")
            self.other_bits[worker] = reason
            return ""
        return (
            f"{reason}, so it was refused; use hosts of one kind, "
            'or allow other bits with sumgrad.workers.host.fingerprint = "any"'
        )

    def _refuse(self, worker: str, refusal: str) -> None:
        """Send a worker away.

        Raises:
            RunFailedError: nobody works, and nobody is left who could.
        """
        self._refused.add(_slot(worker))
        self._stop(worker, refusal)
        self._spoken.discard(worker)
        all_are = len(self._refused) >= max(self._expected, len(self._slots))
        if all_are and not self._dispatch.assigned:
            raise RunFailedError(refusal)
        self.warn(refusal)

    def _failed(self, worker: str, failure: work_pb2.Failure) -> None:
        reason = f"{worker} failed: {failure.message}"
        self._lose(worker, reason)
        if failure.permanent:
            raise RunFailedError(reason)

    def _lose(self, worker: str, reason: str) -> None:
        if worker in self._dispatch.assigned:
            self._handle(WorkerLost(worker))
            self._left(worker, reason)
        self._forget(worker)

    # What is decided.

    def _handle(self, event: Event, accept: Callable[[], None] | None = None) -> bool:
        complete = False
        for instruction in self._dispatch.handle(event, self._clock()):
            match instruction:
                case Accept():
                    assert accept is not None
                    accept()
                case Assign(worker, piece):
                    self._keep_sums_of(worker)
                    self._task.begin, self._task.end = piece.begin, piece.end
                    self._endpoint.assign(worker, self._task)
                case RoundComplete():
                    complete = True
                case Expel(worker, seconds):
                    self._expel(worker, seconds)
                case Release(worker):
                    self._let_go(worker, f"{worker} was retired")
        return complete

    def _accept(self, worker: str, answer: work_pb2.Answer, frames: list[zmq.Frame]) -> None:
        answers = self._answers
        if self._task.HasField("gradient"):
            nodes = cover(answer.begin, answer.end)
            answers.nodes += nodes
            answers.sums += self._endpoint.vectors(worker, len(nodes), frames)
            answers.holders += [worker] * len(nodes)
        answers.losses += answer.losses
        answers.metric += answer.metric
        answers.rows += answer.rows
        answers.findings |= {found.shard: found.problem for found in answer.findings}
        answers.compute_seconds = max(answers.compute_seconds, answer.compute_seconds)
        if worker not in self._contributors:
            self._contributors.add(worker)
            joined = run_pb2.Membership(worker=worker, joined=True, step=self.step)
            self.report(runner_pb2.RunReport(membership=joined))

    def _keep_sums_of(self, worker: str) -> None:
        """A worker's second range in a round overwrites its memory: copy what it holds.

        From then on none of its sums of this round lie there, whether or not the range is still
        wanted when it computes. In rounds after this it gets nothing before it has answered.
        """
        for i, holder in enumerate(self._answers.holders):
            if holder == worker:
                self._answers.sums[i] = self._answers.sums[i].copy()

    def _expel(self, worker: str, seconds: float) -> None:
        """A silent worker may be past obeying, so the runner ends it as well."""
        reason = f"{worker} was expelled: it has not answered for {seconds:.0f} s"
        self._let_go(worker, reason)
        expel = runner_pb2.ExpelWorker(worker=worker, reason=reason)
        self.report(runner_pb2.RunReport(expel=expel))

    def _let_go(self, worker: str, reason: str) -> None:
        self._stop(worker)
        self._forget(worker)
        self._left(worker, reason)

    def _forget(self, worker: str) -> None:
        self._spoken.discard(worker)
        self._endpoint.forget(worker)
        self._break_off_if_nobody_works()

    def _break_off_if_nobody_works(self) -> None:
        if self.pausing and self._dispatch.missing and not self._dispatch.assigned:
            raise NobodyWorksError

    # What is said.

    def report(self, report: runner_pb2.RunReport) -> None:
        """Tell the runner."""
        self._endpoint.send(RUNNER, report.SerializeToString())

    def report_counts(self) -> None:
        """Report what the dispatch has counted since the last time, if it has counted anything."""
        names = run_pb2.DispatchCounts.DESCRIPTOR.fields_by_name
        counts = run_pb2.DispatchCounts(**{name: getattr(self._dispatch, name) for name in names})
        if counts != self._reported:
            new = {name: getattr(counts, name) - getattr(self._reported, name) for name in names}
            self.report(runner_pb2.RunReport(dispatch=run_pb2.DispatchCounts(**new)))
            self._reported = counts

    def send_log(self) -> None:
        """Tell the runner what this process has logged."""
        if self._log is not None:
            self._pass_on("server", self._log.take())

    def _pass_on(self, source: str, lines: Sequence[work_pb2.LogLine]) -> None:
        if lines:
            log = runner_pb2.Log(lines=log_lines(source, lines))
            self.report(runner_pb2.RunReport(log=log))

    def warn(self, message: str) -> None:
        """Tell the run's user of something that the run survives."""
        self.report(runner_pb2.RunReport(warning=run_pb2.Warning(message=message)))

    def _left(self, worker: str, reason: str) -> None:
        self._contributors.discard(worker)
        left = run_pb2.Membership(worker=worker, joined=False, step=self.step, reason=reason)
        self.report(runner_pb2.RunReport(membership=left))

    def _stop(self, worker: str, refused: str = "") -> None:
        stop = work_pb2.ServerMessage(stop=work_pb2.Stop(refused=refused))
        self._endpoint.send(worker, stop.SerializeToString())

    def _ping(self) -> None:
        ping = work_pb2.ServerMessage(ping=work_pb2.Ping()).SerializeToString()
        for worker in self._dispatch.assigned:
            self._endpoint.send(worker, ping)


def _is_to_stop(message: bytes) -> bool:
    """Whether the runner says that the run shall not go on."""
    return runner_pb2.Command.FromString(message).WhichOneof("kind") in ("cancel", "pause")


def _slot(worker: str) -> str:
    """The slot that a worker fills: that of worker-0.1 is worker-0."""
    return worker.partition(".")[0]
