"""The parameter server: holds W and b, averages what workers compute, updates.

Knows no Ray. One thread runs ``train``; the rounds are what speaks to workers and runner.
"""

from __future__ import annotations

import logging
import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from google.protobuf import json_format

from sumgrad.trainer.arithmetic.early_stopping import EarlyStopping, best_epoch
from sumgrad.trainer.arithmetic.reduction import Reduction
from sumgrad.trainer.arithmetic.schedules import Constant, Moment, Schedule, warmup
from sumgrad.trainer.arithmetic.update_rules import Descent
from sumgrad.trainer.record.receipt import code_version, differences
from sumgrad.trainer.server.channel.server_endpoint import ServerEndpoint
from sumgrad.trainer.server.rounds.answers import Tally, first_problem
from sumgrad.trainer.server.rounds.rounds import (
    FingerprintPolicy,
    NobodyWorksError,
    Rounds,
    RunCancelledError,
    RunFailedError,
)
from sumgrad.trainer.server.rounds.step_times import StepTimes
from sumgrad.trainer.server.saving.retrying_read import read_with_retries
from sumgrad.trainer.server.saving.snapshot_keeper import SnapshotKeeper, SnapshotPlan
from sumgrad.trainer.server.training_state import Best, TrainingState
from sumgrad.trainer.snapshots.snapshot import SnapshotError, UnreachableError
from sumgrad.trainer.v1 import run_pb2, runner_pb2
from sumgrad.trainer.weights.layout import digest, layout
from sumgrad.trainer.weights.starting_weights import starting_weights
from sumgrad.trainer.weights.weight_file import write_weights
from sumgrad.workers.channel import ServerAddress
from sumgrad.workers.drills.drill import NO_FAULTS, FaultPlan
from sumgrad.workers.host.allowed_paths import ANYWHERE, AllowedPaths
from sumgrad.workers.job import Job
from sumgrad.workers.logs.log_buffer import LogBuffer
from sumgrad.workers.v1 import work_pb2
from sumgrad.workers.worker import chunks

PROGRESS_SECONDS = 0.25
"""Progress is reported at most this often."""

_LOG = logging.getLogger(__name__)


class RunPausedError(Exception):
    """The runner asked for a pause, and there is a snapshot to go on from.

    Attributes:
        step: of the snapshot.
    """

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


@dataclass(frozen=True)
class TrainingPlan:
    """What the server does with a job.

    Attributes:
        descent: from a step's averaged gradient to the next weights.
        epochs, steps: exactly one is given; how long to train.
        stop_after: the run ends after this step of that length; None does all of it.
        workers: how many will join.
        weights_path: where the final weights go.
        metadata: goes into the weights file.
        spec_digest: of what decides the result, for the receipt.
        start_from: checkpoint whose weights training starts from; None draws them.
        start_roots: where its path may lead.
        schedule, warmup_steps: what scales the learning rate.
        early_stopping: the run ends with the weights of its best epoch, and then maybe before
            its length; None keeps the last weights.
        non_finite: what becomes of a step whose loss or gradient is not finite.
        fingerprint: what becomes of a worker that computes with other bits.
        faults: what goes wrong on purpose.
        snapshots: from what an interrupted run goes on; None keeps nothing.
    """

    job: Job
    descent: Descent
    epochs: int | None
    steps: int | None
    workers: int
    weights_path: Path
    metadata: dict[str, str]
    spec_digest: str = ""
    start_from: str | None = None
    start_roots: AllowedPaths = ANYWHERE
    stop_after: int | None = None
    schedule: Schedule = field(default_factory=Constant)
    warmup_steps: int = 0
    early_stopping: EarlyStopping | None = None
    non_finite: Literal["fail", "skip"] = "fail"
    fingerprint: FingerprintPolicy = "strict"
    faults: FaultPlan = NO_FAULTS
    snapshots: SnapshotPlan | None = None


class ParameterServer:
    """One attempt at one run.

    Args:
        host: the address that workers on other hosts reach.
        clock: seconds, never going back; what late and silent workers and the age of snapshots
            are measured by.
        log: the runner is sent what comes there.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        host: str = "127.0.0.1",
        clock: Callable[[], float] = time.monotonic,
        log: LogBuffer | None = None,
    ) -> None:
        self._plan = plan
        self._data = plan.job.source.describe()
        self._network = plan.job.network(self._data)
        self._sampling = plan.job.sampling(self._data)
        steps_per_epoch = self._sampling.steps_per_epoch
        self._steps = plan.steps or (plan.epochs or 0) * steps_per_epoch
        self._last_step = min(self._steps, plan.stop_after or self._steps)
        self._epochs = math.ceil(self._last_step / steps_per_epoch)
        size = self._network.size
        self._endpoint = ServerEndpoint(size, host)
        self._endpoint.weights[:] = self._network.init(plan.job.seed)
        self._endpoint.publish()
        self._state = TrainingState(self._endpoint.weights, plan.descent.rule.init(size))
        self._rounds = Rounds(self._endpoint, plan.workers, plan.fingerprint, clock, log)
        self._reduction = Reduction(size)
        self._clock = clock
        self._times = StepTimes()
        self._drill = plan.faults.drill("server")
        self._keeper: SnapshotKeeper | None = None
        self._start_digest = ""

    @property
    def address(self) -> ServerAddress:
        return self._endpoint.address

    def train(self) -> None:
        """Train to the end; the runner gets every report, the last of which tells the outcome."""

        def report(last: runner_pb2.RunReport) -> None:
            self._rounds.report_counts()
            self._rounds.send_log()
            self._rounds.report(last)

        try:
            result = self._train()
            report(runner_pb2.RunReport(finished=result))
        except RunCancelledError:
            report(runner_pb2.RunReport(cancelled=runner_pb2.Cancelled()))
        except RunPausedError as pause:
            report(runner_pb2.RunReport(paused=runner_pb2.Paused(step=pause.step)))
        except NobodyWorksError:
            # The state may be that of half a step or evaluation.
            step = 0 if self._keeper is None else self._keeper.last()
            report(runner_pb2.RunReport(paused=runner_pb2.Paused(step=step)))
        except UnreachableError as error:
            # Nothing has been done yet, so nothing is lost, and only the user can help.
            reason = f"paused, because it cannot go on before this can be read: {error}"
            report(runner_pb2.RunReport(paused=runner_pb2.Paused(reason=reason)))
        except (RunFailedError, SnapshotError) as error:
            report(runner_pb2.RunReport(failed=runner_pb2.Failed(message=str(error))))
        finally:
            self._rounds.stop()
            self._endpoint.close()
            self._reduction.close()
            if self._keeper is not None:
                self._keeper.close()

    def _train(self) -> run_pb2.Result:
        _LOG.info(
            "ready on host %s as process %d at %s: %d parameters, %d steps of %d shards",
            platform.node(), os.getpid(), self.address.remote,
            self._network.size, self._last_step, self._sampling.shards,
        )  # fmt: skip
        self._rounds.gather()
        if not self._restore():
            self._start_from_checkpoint()
        state, reported, held_out = self._state, -math.inf, Tally()
        while not self._is_over():
            self._pause_if_asked()
            self._step()
            state.step += 1
            self._rounds.step = state.step
            if state.step == self._last_step or time.monotonic() - reported > PROGRESS_SECONDS:
                reported = time.monotonic()
                self._report_progress()
            if state.step % self._sampling.steps_per_epoch == 0 or state.step == self._last_step:
                held_out = self._evaluate(work_pb2.SPLIT_TEST)
                state.held_out += (held_out.mean,)
                self._keep_best(held_out)
                self._report_epoch(held_out)
                state.epoch = Tally()
            if self._keeper is not None and not self._is_over():
                self._keeper.take(state, self._beside_the_state)
        return self._finish(held_out)

    def _restore(self) -> bool:
        """Go on from the run's last snapshot; whether there is one.

        Raises:
            RunFailedError: the data are not those that it was trained with.
            UnreachableError: nobody knows whether there is one.
            SnapshotError: it is of another network.
        """
        plan = self._plan.snapshots
        if plan is None:
            return False
        rounds = self._rounds
        keeper = SnapshotKeeper(plan, self._drill, self._clock, rounds.report, rounds.attend)
        self._keeper = keeper
        before = keeper.restore(self._state, *read_with_retries(keeper.latest, rounds, self._clock))
        if before is None:
            return False
        self._rounds.step = self._state.step
        self._rounds.other_bits = before["other_bits"] | self._rounds.other_bits
        self._go_on_from(json_format.ParseDict(before["receipt"], run_pb2.Receipt()))
        self._endpoint.publish()
        return True

    def _go_on_from(self, then: run_pb2.Receipt) -> None:
        """Hold the data, the code and this host against those of the attempt before."""
        step, rounds = self._state.step, self._rounds
        rounds.data_digest = rounds.data_digest or then.data_digest
        self._start_digest = then.start_digest
        now = self._receipt()
        if then.data_digest not in ("", now.data_digest):
            raise RunFailedError(
                f"the data have changed since the snapshot of step {step} was taken (digest "
                f"{now.data_digest[:16]}… instead of {then.data_digest[:16]}…); submit the run anew"
            )
        then.data_digest = now.data_digest
        changed = ", ".join(differences(now, then))
        if changed and step > 0:
            reason = f"the first {step} steps were computed otherwise ({changed})"
            rounds.other_bits[f"step {step}"] = reason
            rounds.warn(f"{reason}; the result is not bitwise")

    def _start_from_checkpoint(self) -> None:
        """Have a checkpoint's weights instead of random ones, if one was named.

        Raises:
            UnreachableError: it cannot be read for now.
            SnapshotError: there is none, or it is of another network.
        """
        location = self._plan.start_from
        if location is not None:
            weights = self._endpoint.weights
            roots = self._plan.start_roots
            weights[:] = read_with_retries(
                lambda: starting_weights(location, self._network, roots), self._rounds, self._clock
            )
            self._start_digest = digest(self._network, weights)
            self._endpoint.publish()

    def _beside_the_state(self) -> dict[str, Any]:
        """What else of the run a snapshot holds, as plain data."""
        return {
            "other_bits": self._rounds.other_bits,
            "receipt": json_format.MessageToDict(self._receipt()),
            "layout": layout(self._network),
        }

    def _receipt(self) -> run_pb2.Receipt:
        return run_pb2.Receipt(
            spec_digest=self._plan.spec_digest,
            code_version=code_version(),
            data_digest=self._rounds.data_digest,
            fingerprint=self._rounds.fingerprint.digest,
            fingerprint_parts=self._rounds.fingerprint.parts,
            start_digest=self._start_digest,
        )

    def _pause_if_asked(self) -> None:
        if not self._rounds.pausing:
            return
        if self._keeper is None:
            raise RunFailedError("the run keeps no snapshots, so it cannot be paused")
        step = self._keeper.take_to_pause(self._state, self._beside_the_state)
        if step is not None:
            raise RunPausedError(step)

    def _is_over(self) -> bool:
        """Never so of a snapshot: what is left then is done again from the one before."""
        stopping = self._plan.early_stopping
        return self._state.step == self._last_step or (
            stopping is not None and stopping.is_over(self._state.held_out)
        )

    def _step(self) -> None:
        """One mini-batch: gather the shards' gradients, average, update, publish."""
        state, step = self._state, self._state.step
        started = time.perf_counter()
        answers = self._rounds.run(
            work_pb2.Task(gradient=work_pb2.Gradient(step=step)), self._sampling.shards
        )
        answered = time.perf_counter()
        total = self._reduction.total(answers.nodes, answers.sums, self._sampling.shards)
        self._drill.at("gathered", step + 1)
        if total is None or not math.isfinite(answers.loss):
            self._reject(step)
            state.training_seconds += time.perf_counter() - started
            return
        reduced = time.perf_counter()
        self._reduction.apply(
            self._plan.descent,
            self._endpoint.weights,
            total,
            answers.rows,
            state.rule,
            self._learning_rate(step),
            step + 1,
            self._drill.hook("applying", step + 1),
        )
        self._endpoint.publish()
        self._drill.at("applied", step + 1)
        updated = time.perf_counter()
        state.epoch.add(answers)
        state.samples += answers.rows
        state.training_seconds += updated - started
        self._times.observe(
            compute=answers.compute_seconds,
            channel=max(0.0, answered - started - answers.compute_seconds),
            reduce=reduced - answered,
            update=updated - reduced,
        )

    def _reject(self, step: int) -> None:
        """Fail or skip a step that is not finite; what is wrong is looked for if it is told."""
        self._state.skipped_steps += 1
        skipped = self._state.skipped_steps
        fails = self._plan.non_finite == "fail"
        # The first, the second, the fourth, the eighth, ...
        if not fails and skipped & (skipped - 1):
            return
        task = work_pb2.Task(diagnosis=work_pb2.Diagnosis(step=step))
        problem = first_problem(self._rounds.run(task, self._sampling.shards).findings)
        told = f"step {step + 1}: {problem}, so it was not applied"
        if fails:
            raise RunFailedError(
                f"{told}; try a smaller learning rate, and check the data for extreme values"
            )
        self._rounds.warn(f"{told} (skipped steps so far: {skipped})")

    def _learning_rate(self, step: int) -> float:
        moment = Moment(step, self._steps, self._sampling.steps_per_epoch, self._state.held_out)
        scale = self._plan.schedule.scale(moment) * warmup(step, self._plan.warmup_steps)
        return self._plan.descent.rule.learning_rate * scale

    def _keep_best(self, held_out: Tally) -> None:
        """Copy the weights of the epoch just over if the run may end with them."""
        state = self._state
        epoch = len(state.held_out)
        if self._plan.early_stopping is not None and best_epoch(state.held_out) == epoch:
            weights = np.empty_like(state.weights) if state.best is None else state.best.weights
            weights[:] = state.weights
            state.best = Best(epoch, held_out, weights)

    def _evaluate(self, split: work_pb2.Split) -> Tally:
        """Loss and metric over a whole split, computed by the workers."""
        train = split == work_pb2.SPLIT_TRAIN
        rows = self._data.train_rows if train else self._data.test_rows
        task = work_pb2.Task(evaluation=work_pb2.Evaluation(split=split))
        tally = Tally()
        tally.add(self._rounds.run(task, chunks(rows)))
        return tally

    def _finish(self, held_out: Tally) -> run_pb2.Result:
        state = self._state
        best = state.best
        if best is not None:
            held_out = best.held_out
            state.weights[:] = best.weights
            self._endpoint.publish()
        if not np.isfinite(self._endpoint.weights).all():
            raise RunFailedError(
                "an update made a weight NaN or infinite; try a smaller learning rate"
            )
        in_sample = self._evaluate(work_pb2.SPLIT_TRAIN)
        weights_digest = digest(self._network, self._endpoint.weights)
        metadata = {**self._plan.metadata, "weights_digest": weights_digest}
        path = self._plan.weights_path
        try:
            write_weights(path, self._network, self._endpoint.weights, metadata)
        except OSError as error:
            raise RunFailedError(
                f"the weights cannot be written to {path}: {error.strerror}"
            ) from None
        return run_pb2.Result(
            steps=state.step,
            epochs=len(state.held_out),
            e_in=in_sample.mean,
            e_out=held_out.mean,
            **held_out.figures(self._plan.job.loss.metric),
            weights_digest=weights_digest,
            weights_path=str(path),
            samples_per_second=state.samples / state.training_seconds,
            workers=self._rounds.workers,
            best_epoch=None if best is None else best.epoch,
            stopped_early=state.step < self._last_step,
            bitwise=not self._rounds.other_bits,
            not_bitwise_because="; ".join(self._rounds.other_bits.values()),
            skipped_steps=state.skipped_steps,
            receipt=self._receipt(),
        )

    # Reports.

    def _report_progress(self) -> None:
        state, step = self._state, self._state.step
        rate = state.samples / state.training_seconds
        left = (self._last_step - step) * state.training_seconds / step
        progress = run_pb2.Progress(
            epoch=math.ceil(step / self._sampling.steps_per_epoch),
            epochs=self._epochs,
            step=step,
            steps=self._last_step,
            samples=state.samples,
            e_in=state.epoch.mean,
            **state.epoch.figures(self._plan.job.loss.metric),
            samples_per_second=rate,
            workers=self._rounds.workers,
            seconds_left=left,
            skipped_steps=state.skipped_steps,
        )
        self._rounds.report(runner_pb2.RunReport(progress=progress))
        self._rounds.report(runner_pb2.RunReport(step_times=self._times.message()))
        self._rounds.report_counts()

    def _report_epoch(self, held_out: Tally) -> None:
        state = self._state
        epoch = run_pb2.Epoch(
            epoch=len(state.held_out),
            step=state.step,
            e_in=state.epoch.mean,
            e_out=held_out.mean,
            **held_out.figures(self._plan.job.loss.metric),
            weights_digest=digest(self._network, state.weights),
        )
        self._rounds.report(runner_pb2.RunReport(epoch=epoch))
