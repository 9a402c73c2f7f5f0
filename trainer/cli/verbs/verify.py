"""What a replay has shown, as text and as JSON."""

from __future__ import annotations

from dataclasses import asdict

from sumgrad.trainer.cli.verbs.show import Document
from sumgrad.trainer.record.verification import Comparison
from sumgrad.trainer.v1 import run_pb2


def verification_document(run: run_pb2.Run, replay: run_pb2.Run, found: Comparison) -> Document:
    """A comparison as plain data."""
    first = None
    if found.first is not None:
        mark, other = found.first
        first = asdict(mark) | {"replayed_weights_digest": other or None}
    return {
        "run": run.id,
        "replay": replay.id,
        "workers": replay.spec.workers.count,
        "same": found.same,
        "compared": len(found.compared),
        "equal": found.equal,
        "first_difference": first,
        "receipt_differences": None if found.receipts is None else list(found.receipts),
        "not_bitwise_because": run.result.not_bitwise_because or None,
        "last_step": found.compared[-1].step,
        "weights_digest": found.compared[-1].weights_digest,
    }


def print_verification(run: run_pb2.Run, replay: run_pb2.Run, found: Comparison) -> None:
    """A comparison in a few lines on stdout."""
    last = found.compared[-1]
    epochs = sum(mark.epoch is not None for mark in found.compared)
    _line("run", run.id)
    _line("replay", f"{replay.id}, {replay.spec.workers.count} worker(s)")
    _line(
        "compared",
        f"{_several(epochs, 'epoch')} and the final weights"
        if last.epoch is None
        else f"{_several(epochs, 'epoch')}, to step {last.step}",
    )
    if found.first is None:
        _line("equal", "all, bit for bit")
        _line("weights digest", last.weights_digest)
    else:
        mark, other = found.first
        _line("equal", f"{found.equal} of {len(found.compared)}")
        _line("first differs", str(mark))
        _line("recorded", mark.weights_digest)
        _line("replayed", other or "nothing at this step")
    if found.receipts is None:
        _line("receipt", "the run has none, as it has no result")
    else:
        _line("receipt", "; ".join(found.receipts) or "same code, data and fingerprint")
    if run.result.not_bitwise_because:
        _line("not bitwise", run.result.not_bitwise_because)


def _line(label: str, value: str) -> None:
    print(f"{label:<15} {value}")


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
