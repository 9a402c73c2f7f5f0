"""Rounds of work: messages become events, and what the state machines decide becomes messages.

Everything that the parameter server receives from its workers and its runner passes here. Who takes
part is decided by the membership, who computes what by the dispatch; here is only what they need of
the world: sockets, memory and the clock.
"""

from __future__ import annotations

from collections.abc import Callable

import zmq
from threadpoolctl import threadpool_limits

from sumgrad.trainer.server.channel.report_sender import ReportSender
from sumgrad.trainer.server.channel.server_endpoint import Received, ServerEndpoint
from sumgrad.trainer.server.rounds import dispatch, membership
from sumgrad.trainer.server.rounds.answers import RoundAnswers
from sumgrad.trainer.server.rounds.dispatch import Dispatch, Range
from sumgrad.trainer.server.rounds.gathering import Gathering
from sumgrad.trainer.server.rounds.membership import RUNNER, FingerprintPolicy, Membership
from sumgrad.trainer.v1 import runner_pb2
from sumgrad.workers.channel import ProcessGoneError, SharedMemoryError
from sumgrad.workers.host.probe import fingerprint
from sumgrad.workers.summation_tree import cover
from sumgrad.workers.v1 import work_pb2

PING_SECONDS = 5.0
"""The server pings workers this often, so that they do not take it for dead."""

TICK_SECONDS = 0.05
"""While no message comes, deadlines are checked this often."""


class RunFailedError(RuntimeError):
    """The run cannot go on; the message is for its user."""


class RunCancelledError(Exception):
    """The runner asked to stop."""


class NobodyWorksError(Exception):
    """The run is to pause in the middle of a round, and no worker is left to complete it."""


class Rounds:
    """Has workers do rounds of work, whoever comes and goes.

    Args:
        workers: how many will join.
        policy: what becomes of a worker that computes with other bits.
        clock: seconds, never going back; what late and silent workers are measured by.

    Attributes:
        step: steps done so far, for reports of who came and went; the training loop sets it.
        membership: who takes part.
        dispatch: who computes what.
    """

    def __init__(
        self,
        endpoint: ServerEndpoint,
        sender: ReportSender,
        workers: int,
        policy: FingerprintPolicy,
        clock: Callable[[], float],
    ) -> None:
        # Workers have one BLAS thread each, whatever this process has.
        with threadpool_limits(1, user_api="blas"):
            own = fingerprint()
        self.step = 0
        self.membership = Membership(workers, policy, own)
        self.dispatch = Dispatch()
        self._endpoint = endpoint
        self._sender = sender
        self._clock = clock
        self._pinged = clock()
        self._task = work_pb2.Task()
        self._answers = RoundAnswers()

    @property
    def workers(self) -> int:
        """How many workers take part."""
        return len(self.membership.working)

    @property
    def pausing(self) -> bool:
        """Whether the runner has asked for a pause."""
        return self.membership.pausing

    def gather(self) -> None:
        """Wait for the runner, so that no report is lost, and for the workers.

        A worker that is much later than the first one joins when it comes. Where the run is to
        pause or to stop, do not wait for the others.

        Raises:
            RunFailedError, RunCancelledError
        """
        held = []
        gathering = Gathering(self.membership.expected, self._clock())
        while gathering.until is not None:
            message = self._endpoint.receive(max(0.0, gathering.until - self._clock()))
            if message is None:
                break
            sender = message[0]
            gathering.spoke(sender, self._clock(), stops=_is_to_stop(message))
            self._decide(membership.Spoke(sender))
            held.append(message)
        self._decide(membership.NothingExpected())
        for message in held:
            self._take(message)
        while not (self.workers or self.pausing):
            self._wait()

    def run(self, task: work_pb2.Task, units: int) -> RoundAnswers:
        """Have the workers do a task over ``units`` shards or chunks; what they answer.

        Raises:
            RunFailedError, RunCancelledError, NobodyWorksError
        """
        self._task, self._answers = task, RoundAnswers()
        task.round = self.dispatch.round + 1
        kind = task.WhichOneof("work")
        assert kind is not None
        self._decide(membership.RoundStarted())
        self._distribute(dispatch.RoundBegan(task.round, units, kind))
        while self.membership.in_round:
            self._wait()
        return self._answers

    def attend(self, done: Callable[[], bool], seconds: float) -> bool:
        """Receive messages and ping workers until something else than a round is done.

        Returns:
            Whether it was within this time.

        Raises:
            RunFailedError, RunCancelledError
        """
        end = self._clock() + seconds
        while not done():
            if self._clock() >= end:
                return False
            self._decide(membership.NothingExpected())
            self._wait()
        return True

    def stop(self) -> None:
        """Tell every worker that there is no more work, also those that were not admitted yet."""
        for instruction in self.membership.stop_all():
            self._carry_out(instruction)

    # From messages to events.

    def _wait(self) -> None:
        """Act on the next message or, if none comes for a while, on the passing of time."""
        self._sender.send_log_if_due()
        # Messages go first: a worker is not late because the server was.
        message = self._endpoint.receive(TICK_SECONDS)
        now = self._clock()
        if now - self._pinged >= PING_SECONDS:
            self._ping()
            self._pinged = now
        if message is not None:
            self._decide(membership.Spoke(message[0]))
            self._take(message)
            return
        for worker in self._endpoint.dead():
            self._decide(membership.WorkerGone(worker, f"the process of {worker} has died"))
        self._decide(membership.Tick())
        due = self.dispatch.deadline()
        if due is not None and due <= now:
            self._distribute(dispatch.Tick())

    def _take(self, message: Received) -> None:
        sender, content, frames = message
        if sender == RUNNER:
            self._take_command(runner_pb2.Command.FromString(content))
        else:
            self._take_from_worker(sender, work_pb2.WorkerMessage.FromString(content), frames)

    def _take_command(self, command: runner_pb2.Command) -> None:
        match command.WhichOneof("kind"):
            case "cancel":
                self._decide(membership.CancelRequested())
            case "pause":
                self._decide(membership.PauseRequested())
            case "worker_retired":
                self._distribute(dispatch.WorkerRetired(command.worker_retired.worker))
            case "worker_lost":
                lost = command.worker_lost
                self._decide(membership.WorkerGone(lost.worker, lost.reason))

    def _take_from_worker(
        self, worker: str, message: work_pb2.WorkerMessage, frames: list[zmq.Frame]
    ) -> None:
        match message.WhichOneof("kind"):
            case "answer":
                answer = message.answer
                event = dispatch.Answered(worker, answer.round, Range(answer.begin, answer.end))
                self._distribute(event, lambda: self._use(worker, answer, frames))
            case "join":
                self._decide(membership.JoinRequested(worker, message.join))
            case "failure":
                failed = message.failure
                self._decide(membership.WorkerFailed(worker, failed.message, failed.permanent))
            case "log":
                self._sender.pass_on(worker, message.log.lines)

    # From instructions to messages.

    def _decide(self, event: membership.Event) -> None:
        """Let the membership decide."""
        for instruction in self.membership.handle(event, self._clock()):
            self._carry_out(instruction)

    def _carry_out(self, instruction: membership.Instruction) -> None:
        match instruction:
            case membership.Admit(worker, join):
                self._admit(worker, join)
            case membership.Enlist(worker):
                self._distribute(dispatch.WorkerJoined(worker))
            case membership.Strike(worker):
                self._distribute(dispatch.WorkerLost(worker))
            case membership.Forget(worker):
                self._endpoint.forget(worker)
            case membership.Stop(worker, refused):
                stop = work_pb2.ServerMessage(stop=work_pb2.Stop(refused=refused))
                self._endpoint.send(worker, stop.SerializeToString())
            case membership.EndProcess(worker, reason):
                self._sender.expel(worker, reason)
            case membership.ReportJoined(worker):
                self._sender.joined(worker, self.step)
            case membership.ReportLeft(worker, reason):
                self._sender.left(worker, self.step, reason)
            case membership.Warn(message):
                self._sender.warn(message)
            case membership.Fail(message):
                raise RunFailedError(message)
            case membership.BreakOff():
                raise NobodyWorksError
            case membership.Cancel():
                raise RunCancelledError

    def _distribute(self, event: dispatch.Event, use: Callable[[], None] | None = None) -> None:
        """Let the dispatch decide.

        Args:
            use: takes the answer that the event is about, if it belongs to the round.
        """
        for instruction in self.dispatch.handle(event, self._clock()):
            match instruction:
                case dispatch.Accept():
                    assert use is not None
                    use()
                case dispatch.Assign(worker, piece):
                    self._answers.copy_sums_of(worker)
                    self._task.begin, self._task.end = piece.begin, piece.end
                    self._endpoint.assign(worker, self._task)
                case dispatch.RoundComplete():
                    self._decide(membership.RoundEnded())
                case dispatch.Expel(worker, seconds):
                    self._decide(membership.WorkerExpelled(worker, seconds))
                case dispatch.Release(worker):
                    self._decide(membership.WorkerReleased(worker))

    def _admit(self, worker: str, join: work_pb2.Join) -> None:
        try:
            self._endpoint.admit(worker, join)
        except ProcessGoneError:
            return  # the runner will say so
        except SharedMemoryError as error:
            self._decide(membership.AdmissionFailed(worker, str(error)))
        else:
            self._decide(membership.Admitted(worker, join.data_digest))

    def _use(self, worker: str, answer: work_pb2.Answer, frames: list[zmq.Frame]) -> None:
        nodes = cover(answer.begin, answer.end) if self._task.HasField("gradient") else []
        sums = self._endpoint.vectors(worker, len(nodes), frames)
        self._answers.add(worker, answer, nodes, sums)
        if worker not in self.membership.contributors:
            self._decide(membership.AnswerUsed(worker))

    def _ping(self) -> None:
        ping = work_pb2.ServerMessage(ping=work_pb2.Ping()).SerializeToString()
        for worker in self.membership.working:
            self._endpoint.send(worker, ping)


def _is_to_stop(message: Received) -> bool:
    """Whether the runner says that the run shall not go on."""
    sender, content, _ = message
    if sender != RUNNER:
        return False
    return runner_pb2.Command.FromString(content).WhichOneof("kind") in ("cancel", "pause")
