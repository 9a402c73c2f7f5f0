"""Runs as text and as JSON."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table

from sumgrad.layers import losses
from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.record.enum_names import STATES, state_name, stop_name
from sumgrad.trainer.record.verification import Mark
from sumgrad.trainer.spec.messages import to_document
from sumgrad.trainer.v1 import run_pb2

Document = dict[str, Any]

METRICS = {name: metric.label for name, metric in losses.METRICS.items()}
"""What people call the metrics, by their fields in the messages."""

DISPATCH = {
    "stale_answers": "stale answers",
    "copies": "copied ranges",
    "dropped_copies": "dropped copies",
    "expelled": "expelled",
}
"""Labels of what a dispatch counts, by the fields of DispatchCounts."""

WIDEST = 160
"""Columns that a table line takes at the most, but for long names of runs."""


def parse_state(name: str) -> run_pb2.RunState:
    """``running`` as ``RUN_STATE_RUNNING``. Raises UsageError."""
    if name not in STATES:
        raise UsageError(f"--state must be one of {', '.join(STATES)}, got {name!r}")
    return STATES[name]


def document(run: run_pb2.Run) -> Document:
    """A run as plain data; what is not known yet is null."""
    result = run.result if run.HasField("result") else None
    progress = run.progress if run.HasField("progress") else None
    figures = result or progress
    name = result.WhichOneof("metric") if result else None
    return {
        "id": run.id,
        "name": run.spec.name,
        "state": state_name(run.state),
        "steps": result.steps if result else progress.step if progress else 0,
        "epochs": result.epochs if result else progress.epoch if progress else 0,
        "e_in": _finite(figures.e_in) if figures else None,
        "e_out": _finite(result.e_out) if result else None,
        **{key: _finite(getattr(result, key)) if key == name else None for key in METRICS},
        "weights_digest": result.weights_digest if result else None,
        "weights_path": result.weights_path if result else None,
        "samples_per_second": figures.samples_per_second if figures else None,
        "best_epoch": result.best_epoch if result and result.HasField("best_epoch") else None,
        "stopped_early": result.stopped_early if result else None,
        "skipped_steps": figures.skipped_steps if figures else 0,
        "bitwise": result.bitwise if result and result.HasField("bitwise") else None,
        "not_bitwise_because": result.not_bitwise_because or None if result else None,
        "receipt": _receipt(result.receipt) if result and result.HasField("receipt") else None,
        "faults": to_document(run.spec).get("faults", []),
        "workers": figures.workers if figures else run.spec.workers.count,
        "labels": dict(run.labels),
        "priority": run.priority,
        "owner": run.owner or None,
        "request_id": run.request_id or None,
        "attempt": run.attempt,
        "restarts": run.restarts,
        "dispatch": {field: getattr(run.dispatch, field) for field in DISPATCH},
        "snapshot_step": run.snapshot_step or None,
        "queue": _queue(run.queue) if run.HasField("queue") else None,
        "preempted_by": run.preempted_by or None,
        "stop_requested": stop_name(run.stop_requested) if run.stop_requested else None,
        "message": run.message or None,
        "warnings": list(run.warnings),
        "created": _time(run, "created"),
        "started": _time(run, "started"),
        "ended": _time(run, "ended"),
    }


def _queue(status: run_pb2.QueueStatus) -> Document:
    return {
        "position": status.position,
        "reason": status.reason,
        "estimated_start": _time(status, "estimated_start"),
    }


def waiting(status: run_pb2.QueueStatus) -> str:
    """Where a waiting run stands, in words."""
    text = f"position {status.position}: {status.reason}"
    if status.HasField("estimated_start"):
        text += f"; starts in about {duration(status.estimated_start.ToSeconds() - time.time())}"
    return text


def duration(seconds: float) -> str:
    """83 seconds as ``0:01:23``."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _receipt(receipt: run_pb2.Receipt) -> Document:
    return {
        "spec_digest": receipt.spec_digest,
        "code_version": receipt.code_version,
        "data_digest": receipt.data_digest,
        "fingerprint": receipt.fingerprint,
        "fingerprint_parts": dict(sorted(receipt.fingerprint_parts.items())),
        "start_digest": receipt.start_digest or None,
    }


def digests(marks: Sequence[Mark]) -> list[Document]:
    """Digests on the way as plain data."""
    return [asdict(mark) for mark in marks]


def print_json(content: Document | list[Document]) -> None:
    """One JSON document on stdout."""
    print(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))


def print_summary(run: run_pb2.Run) -> None:
    """A run's figures on stdout, one a line."""
    found = document(run)
    numbers = {"e_in": ".6f", "e_out": ".6f", "samples_per_second": ",.0f"}
    numbers |= dict.fromkeys(METRICS, ".4f")
    labels = METRICS | {
        "id": "run",
        "e_in": "E_in",
        "e_out": "E_out",
        "weights_digest": "weights digest",
        "weights_path": "weights",
        "samples_per_second": "samples/s",
    }
    for key in (
        "id", "name", "state", "message", "steps", "epochs", "e_in", "e_out", *METRICS,
        "weights_digest", "weights_path", "samples_per_second", "workers",
    ):  # fmt: skip
        value = found[key]
        if value is not None:
            print(f"{labels.get(key, key):<15} {format(value, numbers.get(key, ''))}")
    if run.HasField("queue"):
        print(f"{'waits':<15} {waiting(run.queue)}")
    if found["best_epoch"] is not None:
        ending = " (stopped early)" if found["stopped_early"] else ""
        print(f"{'best epoch':<15} {found['best_epoch']} of {found['epochs']}{ending}")
    if found["skipped_steps"]:
        print(f"{'skipped steps':<15} {found['skipped_steps']}")
    if found["bitwise"] is not None:
        because = found["not_bitwise_because"]
        print(f"{'bitwise':<15} {'yes' if found['bitwise'] else f'no: {because}'}")
    if run.attempt > 1:
        print(f"{'attempts':<15} {run.attempt}")
    if run.restarts:
        print(f"{'server restarts':<15} {run.restarts}")
    for field, label in DISPATCH.items():
        if count := found["dispatch"][field]:
            print(f"{label:<15} {count}")
    for key, value in sorted(found["labels"].items()):
        print(f"{'label':<15} {key}={value}")
    if found["priority"]:
        print(f"{'priority':<15} {found['priority']}")
    for warning in run.warnings:
        print(f"{'warning':<15} {warning}")


def print_table(runs: Sequence[run_pb2.Run]) -> None:
    """One line a run on stdout."""
    if not runs:
        print("no runs yet; submit one with `sumgrad submit SPEC`")
        return
    table = Table(box=None, pad_edge=False)
    headings = ["run", "name", "state", "steps", "E_in", "E_out", "metric", "created"]
    some_wait = any(run.HasField("queue") for run in runs)
    for heading in [*headings, "waits"] if some_wait else headings:
        table.add_column(heading, no_wrap=True)
    for run in runs:
        found = document(run)
        table.add_row(
            found["id"],
            found["name"],
            found["state"],
            str(found["steps"]),
            _number(found["e_in"]),
            _number(found["e_out"]),
            metric(run.result, ".4f"),
            found["created"],
            *([waiting(run.queue) if run.HasField("queue") else ""] if some_wait else []),
        )
    print_uncut(table)


def print_uncut(table: Table) -> None:
    """A table on stdout; a narrow terminal wraps its lines, and a pipe has no width."""
    Console(width=max(Console().width, WIDEST)).print(table, markup=False)


def metric(figures: run_pb2.Progress | run_pb2.Epoch | run_pb2.Result, digits: str) -> str:
    """The metric and what it is, like ``accuracy 0.981``; empty where there is none."""
    name = figures.WhichOneof("metric")
    return "" if name is None else f"{METRICS[name]} {getattr(figures, name):{digits}}"


def _finite(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _time(message: run_pb2.Run | run_pb2.QueueStatus, field: str) -> str | None:
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    return stamp.ToDatetime().isoformat(timespec="seconds") + "Z"
