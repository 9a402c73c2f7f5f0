"""The parameter server: holds W and b, averages what workers compute, updates.

It knows no Ray. One thread runs ``train``; the rounds receive what workers and runner send.
"""

from __future__ import annotations

import logging
import math
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from google.protobuf import json_format

from sumgrad.trainer.arithmetic.early_stopping import best_epoch
from sumgrad.trainer.arithmetic.reduction import Reduction
from sumgrad.trainer.arithmetic.schedules import Moment, learning_rate
from sumgrad.trainer.arithmetic.tally import Tally
from sumgrad.trainer.record.receipt import code_version, differences
from sumgrad.trainer.server.channel.report_sender import ReportSender
from sumgrad.trainer.server.channel.server_endpoint import ServerEndpoint
from sumgrad.trainer.server.reporting import Reporting
from sumgrad.trainer.server.rounds.answers import first_problem
from sumgrad.trainer.server.rounds.rounds import (
    NobodyWorksError,
    Rounds,
    RunCancelledError,
    RunFailedError,
)
from sumgrad.trainer.server.saving.retrying_read import read_with_retries
from sumgrad.trainer.server.saving.snapshot_keeper import SnapshotKeeper
from sumgrad.trainer.server.training_plan import TrainingPlan
from sumgrad.trainer.server.training_state import Best, TrainingState
from sumgrad.trainer.snapshots.snapshot import SnapshotError, UnreachableError
from sumgrad.trainer.v1 import run_pb2, runner_pb2
from sumgrad.trainer.weights.layout import digest, layout
from sumgrad.trainer.weights.starting_weights import starting_weights
from sumgrad.trainer.weights.weight_file import write_weights
from sumgrad.workers.channel import ServerAddress
from sumgrad.workers.logs.log_buffer import LogBuffer
from sumgrad.workers.v1 import work_pb2
from sumgrad.workers.worker import chunks

_LOG = logging.getLogger(__name__)


class RunPausedError(Exception):
    """The runner asked for a pause, and there is a snapshot to go on from.

    Attributes:
        step: of the snapshot.
    """

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


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
        self._clock = clock
        self._data = plan.job.source.describe()
        self._network = plan.job.network(self._data)
        self._sampling = plan.job.sampling(self._data)
        self._length = plan.length(self._sampling.steps_per_epoch)
        size = self._network.size
        self._endpoint = ServerEndpoint(size, host)
        self._endpoint.weights[:] = self._network.init(plan.job.seed)
        self._endpoint.publish()
        self._state = TrainingState(self._endpoint.weights, plan.descent.rule.init(size))
        self._sender = ReportSender(self._endpoint, log)
        self._rounds = Rounds(self._endpoint, self._sender, plan.workers, plan.fingerprint, clock)
        metric = plan.job.loss.metric
        self._reporting = Reporting(self._sender, self._rounds, self._state, self._length, metric)
        self._reduction = Reduction(size)
        self._drill = plan.faults.drill("server")
        self._keeper: SnapshotKeeper | None = None
        self._start_digest = ""

    @property
    def address(self) -> ServerAddress:
        return self._endpoint.address

    def train(self) -> None:
        """Train to the end; the last report to the runner is the outcome."""
        try:
            self._reporting.outcome(self._outcome())
        finally:
            self._rounds.stop()
            self._endpoint.close()
            self._reduction.close()
            if self._keeper is not None:
                self._keeper.close()

    def _outcome(self) -> runner_pb2.RunReport:
        """Train; how it has ended."""
        try:
            return runner_pb2.RunReport(finished=self._train())
        except RunCancelledError:
            return runner_pb2.RunReport(cancelled=runner_pb2.Cancelled())
        except RunPausedError as pause:
            return runner_pb2.RunReport(paused=runner_pb2.Paused(step=pause.step))
        except NobodyWorksError:
            # The state may be that of half a step or evaluation.
            step = 0 if self._keeper is None else self._keeper.last()
            return runner_pb2.RunReport(paused=runner_pb2.Paused(step=step))
        except UnreachableError as error:
            # Nothing has been done yet, so nothing is lost, and only the user can help.
            reason = f"paused, because it cannot go on before this can be read: {error}"
            return runner_pb2.RunReport(paused=runner_pb2.Paused(reason=reason))
        except (RunFailedError, SnapshotError) as error:
            return runner_pb2.RunReport(failed=runner_pb2.Failed(message=str(error)))

    def _train(self) -> run_pb2.Result:
        _LOG.info(
            "ready on host %s as process %d at %s: %d parameters, %d steps of %d shards",
            platform.node(), os.getpid(), self.address.remote,
            self._network.size, self._length.last_step, self._sampling.shards,
        )  # fmt: skip
        code_version()  # a third of a second, once a process: now, while workers start
        self._rounds.gather()
        if not self._restore():
            self._start_from_checkpoint()
        state, held_out = self._state, Tally()
        while not self._is_over():
            self._pause_if_asked()
            self._step()
            state.step += 1
            self._rounds.step = state.step
            self._reporting.step_done()
            if self._length.ends_epoch(state.step):
                held_out = self._end_epoch()
            if self._keeper is not None and not self._is_over():
                self._keeper.take(state, self._beside_the_state)
        return self._finish(held_out)

    # How training begins.

    def _restore(self) -> bool:
        """Go on from the run's last snapshot; whether there is one.

        Raises:
            RunFailedError: the data are not those that it was trained with.
            UnreachableError: it cannot be found out whether there is one.
            SnapshotError: it is of another network.
        """
        plan = self._plan.snapshots
        if plan is None:
            return False
        rounds, report = self._rounds, self._sender.report
        keeper = SnapshotKeeper(plan, self._drill, self._clock, report, rounds.attend)
        self._keeper = keeper
        found = read_with_retries(keeper.latest, rounds, self._sender.warn, self._clock)
        before = keeper.restore(self._state, *found)
        if before is None:
            return False
        rounds.step = self._state.step
        members = rounds.membership
        members.other_bits = before["other_bits"] | members.other_bits
        self._compare_receipt(json_format.ParseDict(before["receipt"], run_pb2.Receipt()))
        self._endpoint.publish()
        return True

    def _compare_receipt(self, then: run_pb2.Receipt) -> None:
        """Compare the data, the code and this host with those of the attempt before.

        Raises:
            RunFailedError: the data have changed.
        """
        step, members = self._state.step, self._rounds.membership
        members.data_digest = members.data_digest or then.data_digest
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
            members.other_bits[f"step {step}"] = reason
            self._sender.warn(f"{reason}; the result is not bitwise")

    def _start_from_checkpoint(self) -> None:
        """Take a checkpoint's weights instead of random ones, if one was named.

        Raises:
            UnreachableError: it cannot be read for now.
            SnapshotError: there is none, or it is of another network.
        """
        location = self._plan.start_from
        if location is None:
            return
        weights, roots = self._endpoint.weights, self._plan.start_roots
        weights[:] = read_with_retries(
            lambda: starting_weights(location, self._network, roots),
            self._rounds,
            self._sender.warn,
            self._clock,
        )
        self._start_digest = digest(self._network, weights)
        self._endpoint.publish()

    def _receipt(self) -> run_pb2.Receipt:
        members = self._rounds.membership
        return run_pb2.Receipt(
            spec_digest=self._plan.spec_digest,
            code_version=code_version(),
            data_digest=members.data_digest,
            fingerprint=members.fingerprint.digest,
            fingerprint_parts=members.fingerprint.parts,
            start_digest=self._start_digest,
        )

    def _beside_the_state(self) -> dict[str, Any]:
        """What else of the run a snapshot holds, as plain data."""
        return {
            "other_bits": self._rounds.membership.other_bits,
            "receipt": json_format.MessageToDict(self._receipt()),
            "layout": layout(self._network),
        }

    # Between steps.

    def _pause_if_asked(self) -> None:
        """
        Raises:
            RunPausedError: there is a snapshot to go on from.
            RunFailedError: the run keeps none.
        """
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
        return self._state.step == self._length.last_step or (
            stopping is not None and stopping.is_over(self._state.held_out)
        )

    # One step.

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
        state.epoch.add(answers.loss, answers.rows, answers.metric_sums)
        state.samples += answers.rows
        state.training_seconds += updated - started
        self._reporting.times.observe(
            compute=answers.compute_seconds,
            channel=max(0.0, answered - started - answers.compute_seconds),
            reduce=reduced - answered,
            update=updated - reduced,
        )

    def _learning_rate(self, step: int) -> float:
        length = self._length
        moment = Moment(step, length.steps, length.steps_per_epoch, self._state.held_out)
        plan = self._plan
        base = plan.descent.rule.learning_rate
        return learning_rate(base, plan.schedule, plan.warmup_steps, moment)

    def _reject(self, step: int) -> None:
        """Fail or skip a step that is not finite; where it is reported, look for the cause."""
        self._state.skipped_steps += 1
        skipped = self._state.skipped_steps
        fails = self._plan.non_finite == "fail"
        # The first, the second, the fourth, the eighth, ...
        if not fails and skipped & (skipped - 1):
            return
        task = work_pb2.Task(diagnosis=work_pb2.Diagnosis(step=step))
        problem = first_problem(self._rounds.run(task, self._sampling.shards).findings)
        found = f"step {step + 1}: {problem}, so it was not applied"
        if fails:
            raise RunFailedError(
                f"{found}; try a smaller learning rate, and check the data for extreme values"
            )
        self._sender.warn(f"{found} (skipped steps so far: {skipped})")

    # The ends of epochs and of the run.

    def _end_epoch(self) -> Tally:
        """Evaluate and report the epoch that is over; its sums over the held-out rows."""
        state = self._state
        held_out = self._evaluate(work_pb2.SPLIT_TEST)
        state.held_out += (held_out.mean,)
        self._keep_best(held_out)
        self._reporting.epoch_done(held_out, digest(self._network, state.weights))
        state.epoch = Tally()
        return held_out

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
        answers = self._rounds.run(task, chunks(rows))
        return Tally(answers.loss, answers.rows, answers.metric_sums)

    def _finish(self, held_out: Tally) -> run_pb2.Result:
        """Evaluate and write the final weights.

        Args:
            held_out: of the last epoch.

        Raises:
            RunFailedError: they are not finite, or cannot be written.
        """
        weights, best = self._state.weights, self._state.best
        if best is not None:
            held_out = best.held_out
            weights[:] = best.weights
            self._endpoint.publish()
        if not np.isfinite(weights).all():
            raise RunFailedError(
                "an update made a weight NaN or infinite; try a smaller learning rate"
            )
        in_sample = self._evaluate(work_pb2.SPLIT_TRAIN)
        weights_digest = digest(self._network, weights)
        path = self._plan.weights_path
        try:
            write_weights(
                path,
                self._network,
                weights,
                {**self._plan.metadata, "weights_digest": weights_digest},
            )
        except OSError as error:
            raise RunFailedError(
                f"the weights cannot be written to {path}: {error.strerror}"
            ) from None
        return self._reporting.result(
            in_sample, held_out, weights_digest, str(path), self._receipt()
        )
