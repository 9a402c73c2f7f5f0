"""What the parameter server reports of a run: progress, epochs, the result."""

from __future__ import annotations

import math
import time

from sumgrad.layers import Metric
from sumgrad.trainer.arithmetic.tally import Tally
from sumgrad.trainer.server.channel.report_sender import ReportSender
from sumgrad.trainer.server.rounds.dispatch import Dispatch
from sumgrad.trainer.server.rounds.rounds import Rounds
from sumgrad.trainer.server.rounds.step_times import StepTimes
from sumgrad.trainer.server.training_plan import Length
from sumgrad.trainer.server.training_state import TrainingState
from sumgrad.trainer.v1 import run_pb2, runner_pb2

PROGRESS_SECONDS = 0.25
"""Progress is reported at most this often."""


class Reporting:
    """Reports of one training loop.

    Args:
        state: of the run; the training loop changes it.
        metric: of the run's loss.

    Attributes:
        times: of the steps so far; the training loop adds to them.
    """

    def __init__(
        self,
        sender: ReportSender,
        rounds: Rounds,
        state: TrainingState,
        length: Length,
        metric: Metric,
    ) -> None:
        self.times = StepTimes()
        self._sender = sender
        self._rounds = rounds
        self._state = state
        self._length = length
        self._metric = metric
        self._progressed = -math.inf
        # What of the dispatch's counts has been reported.
        self._counted = run_pb2.DispatchCounts()

    def step_done(self) -> None:
        """Report progress if the last time is long enough ago, or this is the last step."""
        now = time.monotonic()
        is_last = self._state.step == self._length.last_step
        if is_last or now - self._progressed > PROGRESS_SECONDS:
            self._progressed = now
            self._sender.report(runner_pb2.RunReport(progress=self._progress()))
            self._sender.report(runner_pb2.RunReport(step_times=self.times.message()))
            self._report_counts()

    def epoch_done(self, held_out: Tally, weights_digest: str) -> None:
        state = self._state
        epoch = run_pb2.Epoch(
            epoch=len(state.held_out),
            step=state.step,
            e_in=state.epoch.mean,
            e_out=held_out.mean,
            **held_out.figures(self._metric),
            weights_digest=weights_digest,
        )
        self._sender.report(runner_pb2.RunReport(epoch=epoch))

    def outcome(self, last: runner_pb2.RunReport) -> None:
        """Report how the attempt has ended, after all that is left to say of it."""
        self._report_counts()
        self._sender.send_log()
        self._sender.report(last)

    def result(
        self,
        in_sample: Tally,
        held_out: Tally,
        weights_digest: str,
        weights_path: str,
        receipt: run_pb2.Receipt,
    ) -> run_pb2.Result:
        """The result of a run that has succeeded.

        Args:
            in_sample, held_out: sums over all rows of both splits, with the final weights.
        """
        state, other_bits = self._state, self._rounds.membership.other_bits
        return run_pb2.Result(
            steps=state.step,
            epochs=len(state.held_out),
            e_in=in_sample.mean,
            e_out=held_out.mean,
            **held_out.figures(self._metric),
            weights_digest=weights_digest,
            weights_path=weights_path,
            samples_per_second=state.samples / state.training_seconds,
            workers=self._rounds.workers,
            best_epoch=None if state.best is None else state.best.epoch,
            stopped_early=state.step < self._length.last_step,
            bitwise=not other_bits,
            not_bitwise_because="; ".join(other_bits.values()),
            skipped_steps=state.skipped_steps,
            receipt=receipt,
        )

    def _progress(self) -> run_pb2.Progress:
        state, length = self._state, self._length
        return run_pb2.Progress(
            epoch=length.epoch_of(state.step),
            epochs=length.epochs,
            step=state.step,
            steps=length.last_step,
            samples=state.samples,
            e_in=state.epoch.mean,
            **state.epoch.figures(self._metric),
            samples_per_second=state.samples / state.training_seconds,
            workers=self._rounds.workers,
            seconds_left=(length.last_step - state.step) * state.training_seconds / state.step,
            skipped_steps=state.skipped_steps,
        )

    def _report_counts(self) -> None:
        """Report what the dispatch has counted since the last time, if it has counted anything."""
        counts = _counts(self._rounds.dispatch)
        if counts != self._counted:
            new = {
                field: getattr(counts, field) - getattr(self._counted, field) for field in _FIELDS
            }
            self._sender.report(runner_pb2.RunReport(dispatch=run_pb2.DispatchCounts(**new)))
            self._counted = counts


_FIELDS = tuple(run_pb2.DispatchCounts.DESCRIPTOR.fields_by_name)


def _counts(dispatch: Dispatch) -> run_pb2.DispatchCounts:
    return run_pb2.DispatchCounts(**{field: getattr(dispatch, field) for field in _FIELDS})
