"""The parameter server: holds W and b, gives out work, averages what comes back, updates.

Knows no Ray. One thread runs ``train``; workers and the runner speak to it through the hub.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import zmq
from threadpoolctl import threadpool_limits

from layers.arrays import Array
from trainer.early_stopping import EarlyStopping, best_epoch
from trainer.schedules import Constant, Moment, Schedule, warmup
from trainer.server.dispatch import (
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
)
from trainer.server.hub import Hub
from trainer.server.reduction import Reduction
from trainer.server.round_answers import RoundAnswers, Tally, first_problem
from trainer.server.step_times import StepTimes
from trainer.server.weights import digest, write_weights
from trainer.update_rules import Descent
from trainer.v1 import run_pb2, runner_pb2
from workers.channel import ProcessGoneError, ServerAddress, SharedMemoryError
from workers.faults import NO_FAULTS, FaultPlan
from workers.fingerprint import Fingerprint, fingerprint
from workers.job import Job
from workers.tree import cover
from workers.v1 import work_pb2
from workers.worker import chunks

RUNNER = "runner"
"""The name under which the runner connects; workers have other names."""

PING_SECONDS = 5.0
ANSWER_SECONDS = 600.0
"""A run in which no worker says anything for this long has failed."""

JOIN_SECONDS = 10.0
"""Training begins without the workers that are later than the first one by this much."""

PROGRESS_SECONDS = 0.25
"""Progress is reported at most this often."""


class RunFailedError(RuntimeError):
    """The run cannot go on; the message is for its user."""


class RunCancelledError(Exception):
    """The runner asked to stop."""


@dataclass(frozen=True)
class TrainingPlan:
    """What the server does with a job.

    Attributes:
        descent: from a step's averaged gradient to the next weights.
        epochs, steps: exactly one is given; how long to train.
        workers: how many will join.
        weights_path: where the final weights go.
        metadata: goes into the weights file.
        schedule, warmup_steps: what scales the learning rate.
        early_stopping: the run ends with the weights of its best epoch, and then maybe before
            its length; None keeps the last weights.
        non_finite: what becomes of a step whose loss or gradient is not finite.
        fingerprint: what becomes of a worker that computes with other bits.
        faults: what goes wrong on purpose.
    """

    job: Job
    descent: Descent
    epochs: int | None
    steps: int | None
    workers: int
    weights_path: Path
    metadata: dict[str, str]
    schedule: Schedule = field(default_factory=Constant)
    warmup_steps: int = 0
    early_stopping: EarlyStopping | None = None
    non_finite: Literal["fail", "skip"] = "fail"
    fingerprint: Literal["strict", "any"] = "strict"
    faults: FaultPlan = NO_FAULTS


@dataclass(frozen=True)
class Best:
    """The best epoch so far: its number, its figures and a copy of its weights."""

    epoch: int
    held_out: Tally
    weights: Array


class ParameterServer:
    """One attempt at one run.

    Args:
        host: the address that workers on other hosts reach.
        clock: seconds, never going back; what late and silent workers are measured by.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        host: str = "127.0.0.1",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._data = plan.job.source.describe()
        self._network = plan.job.network(self._data)
        self._sampling = plan.job.sampling(self._data)
        steps_per_epoch = self._sampling.steps_per_epoch
        self._steps = plan.steps or (plan.epochs or 0) * steps_per_epoch
        self._epochs = math.ceil(self._steps / steps_per_epoch)
        size = self._network.size
        self._hub = Hub(size, host)
        self._hub.weights[:] = self._network.init(plan.job.seed)
        self._hub.publish()
        self._state = plan.descent.rule.init(size)
        self._reduction = Reduction(size)
        self._dispatch = Dispatch()
        self._clock = clock
        self._heard = self._pinged = clock()
        self._times = StepTimes()
        self._task = work_pb2.Task()
        self._round = RoundAnswers()
        self._held_out: tuple[float, ...] = ()
        self._best: Best | None = None
        self._samples = 0
        self._training_seconds = 0.0
        self._skipped_steps = 0
        self._drill = plan.faults.drill("server")
        # Workers have one BLAS thread each, whatever this process has.
        with threadpool_limits(1, user_api="blas"):
            self._fingerprint = fingerprint()
        # Who has another fingerprint: refused, or admitted and in what it differs.
        self._refused: set[str] = set()
        self._other_bits: dict[str, str] = {}

    @property
    def address(self) -> ServerAddress:
        return self._hub.address

    def train(self) -> None:
        """Train to the end; the runner gets every report, the last of which tells the outcome."""
        try:
            result = self._train()
            self._report(runner_pb2.RunReport(finished=result))
        except RunCancelledError:
            self._report(runner_pb2.RunReport(cancelled=runner_pb2.Cancelled()))
        except RunFailedError as error:
            self._report(runner_pb2.RunReport(failed=runner_pb2.Failed(message=str(error))))
        finally:
            for worker in self._dispatch.assigned:
                self._stop(worker)
            self._hub.close()
            self._reduction.close()

    def _train(self) -> run_pb2.Result:
        self._gather()
        step, epoch_tally, reported = 0, Tally(), -math.inf
        held_out = Tally()
        while step < self._steps:
            self._step(step, epoch_tally)
            step += 1
            epoch_ends = step % self._sampling.steps_per_epoch == 0 or step == self._steps
            if step == self._steps or time.monotonic() - reported > PROGRESS_SECONDS:
                reported = time.monotonic()
                self._report_progress(step, epoch_tally)
            if epoch_ends:
                held_out = self._evaluate(work_pb2.SPLIT_TEST)
                self._held_out += (held_out.mean,)
                self._keep_best(held_out)
                self._report_epoch(step, epoch_tally, held_out)
                epoch_tally = Tally()
                if self._is_over():
                    break
        return self._finish(step, held_out)

    def _step(self, step: int, tally: Tally) -> None:
        """One mini-batch: gather the shards' gradients, average, update, publish."""
        started = time.perf_counter()
        answers = self._run_round(
            work_pb2.Task(gradient=work_pb2.Gradient(step=step)), self._sampling.shards
        )
        answered = time.perf_counter()
        total = self._reduction.total(answers.nodes, answers.sums, self._sampling.shards)
        self._drill.at("gathered", step + 1)
        if total is None or not math.isfinite(answers.loss):
            self._reject(step)
            self._training_seconds += time.perf_counter() - started
            return
        reduced = time.perf_counter()
        self._reduction.apply(
            self._plan.descent,
            self._hub.weights,
            total,
            answers.rows,
            self._state,
            self._learning_rate(step),
            step + 1,
            self._drill.hook("applying", step + 1),
        )
        self._hub.publish()
        self._drill.at("applied", step + 1)
        updated = time.perf_counter()
        tally.add(answers)
        self._samples += answers.rows
        self._training_seconds += updated - started
        self._times.observe(
            compute=answers.compute_seconds,
            channel=max(0.0, answered - started - answers.compute_seconds),
            reduce=reduced - answered,
            update=updated - reduced,
        )

    def _reject(self, step: int) -> None:
        """Fail or skip a step that is not finite; what is wrong is looked for if it is told."""
        self._skipped_steps += 1
        fails = self._plan.non_finite == "fail"
        # The first, the second, the fourth, the eighth, ...
        if not fails and self._skipped_steps & (self._skipped_steps - 1):
            return
        task = work_pb2.Task(diagnosis=work_pb2.Diagnosis(step=step))
        problem = first_problem(self._run_round(task, self._sampling.shards).findings)
        told = f"step {step + 1}: {problem}, so it was not applied"
        if fails:
            raise RunFailedError(
                f"{told}; try a smaller learning rate, and check the data for extreme values"
            )
        self._warn(f"{told} (skipped steps so far: {self._skipped_steps})")

    def _learning_rate(self, step: int) -> float:
        moment = Moment(step, self._steps, self._sampling.steps_per_epoch, self._held_out)
        scale = self._plan.schedule.scale(moment) * warmup(step, self._plan.warmup_steps)
        return self._plan.descent.rule.learning_rate * scale

    def _keep_best(self, held_out: Tally) -> None:
        """Copy the weights of the epoch just over if the run may end with them."""
        epoch = len(self._held_out)
        if self._plan.early_stopping is not None and best_epoch(self._held_out) == epoch:
            current = self._hub.weights
            weights = np.empty_like(current) if self._best is None else self._best.weights
            weights[:] = current
            self._best = Best(epoch, held_out, weights)

    def _is_over(self) -> bool:
        early_stopping = self._plan.early_stopping
        return early_stopping is not None and early_stopping.is_over(self._held_out)

    def _evaluate(self, split: work_pb2.Split) -> Tally:
        """Loss and metric over a whole split, computed by the workers."""
        train = split == work_pb2.SPLIT_TRAIN
        rows = self._data.train_rows if train else self._data.test_rows
        task = work_pb2.Task(evaluation=work_pb2.Evaluation(split=split))
        tally = Tally()
        tally.add(self._run_round(task, chunks(rows)))
        return tally

    def _finish(self, step: int, held_out: Tally) -> run_pb2.Result:
        best = self._best
        if best is not None:
            held_out = best.held_out
            self._hub.weights[:] = best.weights
            self._hub.publish()
        if not np.isfinite(self._hub.weights).all():
            raise RunFailedError(
                "an update made a weight NaN or infinite; try a smaller learning rate"
            )
        in_sample = self._evaluate(work_pb2.SPLIT_TRAIN)
        weights_digest = digest(self._network, self._hub.weights)
        metadata = {**self._plan.metadata, "weights_digest": weights_digest}
        path = self._plan.weights_path
        try:
            write_weights(path, self._network, self._hub.weights, metadata)
        except OSError as error:
            raise RunFailedError(
                f"the weights cannot be written to {path}: {error.strerror}"
            ) from None
        return run_pb2.Result(
            steps=step,
            epochs=len(self._held_out),
            e_in=in_sample.mean,
            e_out=held_out.mean,
            **held_out.figures(self._plan.job.loss.metric),
            weights_digest=weights_digest,
            weights_path=str(path),
            samples_per_second=self._samples / self._training_seconds,
            workers=len(self._dispatch.assigned),
            best_epoch=None if best is None else best.epoch,
            stopped_early=step < self._steps,
            bitwise=not self._other_bits,
            not_bitwise_because="; ".join(self._other_bits.values()),
            skipped_steps=self._skipped_steps,
        )

    # One round: instructions of the state machine become messages, messages become events.

    def _run_round(self, task: work_pb2.Task, units: int) -> RoundAnswers:
        self._task, self._round = task, RoundAnswers()
        task.round = self._dispatch.round + 1
        self._heard = self._clock()
        kind = task.WhichOneof("work")
        assert kind is not None
        complete = self._handle(RoundBegan(task.round, units, kind))
        while not complete:
            complete = self._wait()
        return self._round

    def _gather(self) -> None:
        """Wait for the runner, so that no report is lost, and for the workers.

        A worker that is much later than the first one joins when it comes.
        """
        spoken: set[str] = set()
        messages = []
        deadline = time.monotonic() + ANSWER_SECONDS
        while RUNNER not in spoken or len(spoken) <= self._plan.workers:
            message = self._hub.receive(max(0.0, deadline - time.monotonic()))
            if message is None:
                break
            if not spoken - {RUNNER} and message[0] != RUNNER:
                deadline = time.monotonic() + JOIN_SECONDS
            spoken.add(message[0])
            messages.append(message)
        for message in messages:
            self._take(*message)
        self._heard = self._clock()
        while not self._dispatch.assigned:
            self._wait()

    def _wait(self) -> bool:
        """Act on the next message or, if none comes before, on the passing of time.

        Returns:
            Whether the round is complete.
        """
        now = self._clock()
        due = min(self._pinged + PING_SECONDS, self._heard + ANSWER_SECONDS)
        late = self._dispatch.deadline()
        if late is not None:
            due = min(due, late)
        # At a deadline that has passed already, messages that have come still go first: a worker
        # is not late because the server was.
        message = self._hub.receive(max(0.0, due - now))
        now = self._clock()
        if now - self._pinged >= PING_SECONDS:
            self._ping()
            self._pinged = now
        if message is not None:
            if message[0] != RUNNER:
                self._heard = now
            return self._take(*message)
        if now - self._heard >= ANSWER_SECONDS:
            raise RunFailedError(
                f"no worker has answered for {ANSWER_SECONDS:.0f} s; see the run's logs"
            )
        return self._handle(Tick())

    def _take(self, sender: str, message: bytes, frames: list[zmq.Frame]) -> bool:
        """Act on one message; True when the round is complete."""
        if sender == RUNNER:
            return self._obey(runner_pb2.Command.FromString(message))
        content = work_pb2.WorkerMessage.FromString(message)
        kind = content.WhichOneof("kind")
        if kind == "failure":
            raise RunFailedError(f"{sender} failed: {content.failure.message}")
        if kind == "join":
            if not self._has_fitting_bits(sender, content.join):
                return False
            try:
                self._hub.admit(sender, content.join)
            except ProcessGoneError:
                return False  # it died since; the runner will say so
            except SharedMemoryError as error:
                raise RunFailedError(f"{sender} cannot share memory: {error}") from None
            return self._handle(WorkerJoined(sender))
        answer = content.answer
        event = Answered(sender, answer.round, Range(answer.begin, answer.end))
        return self._handle(event, lambda: self._accept(sender, answer, frames))

    def _has_fitting_bits(self, worker: str, join: work_pb2.Join) -> bool:
        """Whether a worker may compute, as far as its fingerprint goes.

        Raises:
            RunFailedError: it was the last worker that could come.
        """
        self._refused.discard(worker)
        if join.fingerprint == self._fingerprint.digest:
            return True
        theirs = Fingerprint(join.fingerprint, dict(join.fingerprint_parts))
        differ = theirs.differences(self._fingerprint.parts) or "fingerprint"
        reason = f"{worker} computes with other bits ({differ})"
        if self._plan.fingerprint == "any":
            if worker not in self._other_bits:
                self._warn(f"{reason}; the result is not bitwise")
            self._other_bits[worker] = reason
            return True
        self._refused.add(worker)
        refusal = (
            f"{reason}, so it was refused; use hosts of one kind, "
            'or allow other bits with workers.fingerprint = "any"'
        )
        stop = work_pb2.Stop(refused=refusal)
        self._hub.send(worker, work_pb2.ServerMessage(stop=stop).SerializeToString())
        if len(self._refused) >= self._plan.workers:
            raise RunFailedError(refusal)
        self._warn(refusal)
        return False

    def _obey(self, command: runner_pb2.Command) -> bool:
        if command.HasField("cancel"):
            raise RunCancelledError
        if not command.HasField("worker_lost"):
            return False
        worker = command.worker_lost.worker
        complete = self._handle(WorkerLost(worker))
        self._hub.forget(worker)
        return complete

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
                    self._hub.assign(worker, self._task)
                case RoundComplete():
                    complete = True
                case Expel(worker, seconds):
                    self._expel(worker, seconds)
                case Release(worker):
                    self._let_go(worker)
        return complete

    def _accept(self, worker: str, answer: work_pb2.Answer, frames: list[zmq.Frame]) -> None:
        answers = self._round
        if self._task.HasField("gradient"):
            nodes = cover(answer.begin, answer.end)
            answers.nodes += nodes
            answers.sums += self._hub.vectors(worker, len(nodes), frames)
            answers.holders += [worker] * len(nodes)
        answers.losses += answer.losses
        answers.metric += answer.metric
        answers.rows += answer.rows
        answers.findings |= {found.shard: found.problem for found in answer.findings}
        answers.compute_seconds = max(answers.compute_seconds, answer.compute_seconds)

    def _expel(self, worker: str, seconds: float) -> None:
        """A silent worker may be past obeying, so the runner ends it as well."""
        self._let_go(worker)
        reason = f"{worker} was expelled: it has not answered for {seconds:.0f} s"
        self._report(
            runner_pb2.RunReport(expel=runner_pb2.ExpelWorker(worker=worker, reason=reason))
        )

    def _let_go(self, worker: str) -> None:
        self._stop(worker)
        self._hub.forget(worker)

    def _stop(self, worker: str) -> None:
        stop = work_pb2.ServerMessage(stop=work_pb2.Stop())
        self._hub.send(worker, stop.SerializeToString())

    def _keep_sums_of(self, worker: str) -> None:
        """A worker's second range in a round overwrites its memory: copy what it holds.

        From then on none of its sums of this round lie there, whether or not the range is still
        wanted when it computes. In rounds after this it gets nothing before it has answered.
        """
        for i, holder in enumerate(self._round.holders):
            if holder == worker:
                self._round.sums[i] = self._round.sums[i].copy()

    def _ping(self) -> None:
        ping = work_pb2.ServerMessage(ping=work_pb2.Ping()).SerializeToString()
        for worker in self._dispatch.assigned:
            self._hub.send(worker, ping)

    # Reports.

    def _warn(self, message: str) -> None:
        self._report(runner_pb2.RunReport(warning=run_pb2.Warning(message=message)))

    def _report(self, report: runner_pb2.RunReport) -> None:
        self._hub.send(RUNNER, report.SerializeToString())

    def _report_progress(self, step: int, tally: Tally) -> None:
        rate = self._samples / self._training_seconds
        left = (self._steps - step) * self._training_seconds / step
        progress = run_pb2.Progress(
            epoch=math.ceil(step / self._sampling.steps_per_epoch),
            epochs=self._epochs,
            step=step,
            steps=self._steps,
            samples=self._samples,
            e_in=tally.mean,
            **tally.figures(self._plan.job.loss.metric),
            samples_per_second=rate,
            workers=len(self._dispatch.assigned),
            seconds_left=left,
            skipped_steps=self._skipped_steps,
        )
        self._report(runner_pb2.RunReport(progress=progress))
        self._report(runner_pb2.RunReport(step_times=self._times.message()))

    def _report_epoch(self, step: int, tally: Tally, held_out: Tally) -> None:
        epoch = run_pb2.Epoch(
            epoch=math.ceil(step / self._sampling.steps_per_epoch),
            step=step,
            e_in=tally.mean,
            e_out=held_out.mean,
            **held_out.figures(self._plan.job.loss.metric),
        )
        self._report(runner_pb2.RunReport(epoch=epoch))
