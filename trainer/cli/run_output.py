"""A run as a JSON document and as a summary."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING

from sumgrad.trainer.cli.output import Document, duration, finite, print_field, print_json
from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.record.enum_names import STATES, state_name, stop_name
from sumgrad.trainer.v1 import run_pb2

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

DISPATCH = {
    "stale_answers": "stale answers",
    "copies": "copied ranges",
    "dropped_copies": "dropped copies",
    "expelled": "expelled",
}
"""Labels of what a dispatch counts, by the fields of DispatchCounts."""


@cache
def metric_labels() -> dict[str, str]:
    """Labels of the metrics, by their fields in the messages."""
    from sumgrad.layers.losses import METRICS

    return {name: metric.label for name, metric in METRICS.items()}


def parse_state(name: str) -> run_pb2.RunState:
    """``running`` as ``RUN_STATE_RUNNING``. Raises UsageError."""
    if name not in STATES:
        raise UsageError(f"--state must be one of {', '.join(STATES)}, got {name!r}")
    return STATES[name]


def document(run: run_pb2.Run) -> Document:
    """A run as plain data; what is not known yet is null."""
    from sumgrad.trainer.spec.messages import to_document

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
        "e_in": finite(figures.e_in) if figures else None,
        "e_out": finite(result.e_out) if result else None,
        **{key: finite(getattr(result, key)) if key == name else None for key in metric_labels()},
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
        "workers": result.workers if result else run.workers or run.spec.workers.count,
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


def _receipt(receipt: run_pb2.Receipt) -> Document:
    return {
        "spec_digest": receipt.spec_digest,
        "code_version": receipt.code_version,
        "data_digest": receipt.data_digest,
        "fingerprint": receipt.fingerprint,
        "fingerprint_parts": dict(sorted(receipt.fingerprint_parts.items())),
        "start_digest": receipt.start_digest or None,
    }


def _time(message: run_pb2.Run | run_pb2.QueueStatus, field: str) -> str | None:
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    return stamp.ToDatetime().isoformat(timespec="seconds") + "Z"


def waiting(status: run_pb2.QueueStatus) -> str:
    """Where a waiting run stands, in words."""
    text = f"position {status.position}: {status.reason}"
    if status.HasField("estimated_start"):
        text += f"; starts in about {duration(status.estimated_start.ToSeconds() - time.time())}"
    return text


def metric(figures: run_pb2.Progress | run_pb2.Epoch | run_pb2.Result, digits: str) -> str:
    """The metric with its label, like ``accuracy 0.981``; empty where there is none."""
    name = figures.WhichOneof("metric")
    return "" if name is None else f"{metric_labels()[name]} {getattr(figures, name):{digits}}"


def print_run(run: run_pb2.Run, json: bool) -> None:
    """A run on stdout, as JSON or as a summary."""
    if json:
        print_json(document(run))
    else:
        print_summary(run)


def print_summary(run: run_pb2.Run) -> None:
    """A run's figures on stdout, one a line."""
    found = document(run)
    numbers = {"e_in": ".6f", "e_out": ".6f", "samples_per_second": ",.0f"}
    numbers |= dict.fromkeys(metric_labels(), ".4f")
    labels = metric_labels() | {
        "id": "run",
        "e_in": "E_in",
        "e_out": "E_out",
        "weights_digest": "weights digest",
        "weights_path": "weights",
        "samples_per_second": "samples/s",
    }
    for key in (
        "id", "name", "state", "message", "steps", "epochs", "e_in", "e_out", *metric_labels(),
        "weights_digest", "weights_path", "samples_per_second", "workers",
    ):  # fmt: skip
        value = found[key]
        if value is not None:
            print_field(labels.get(key, key), format(value, numbers.get(key, "")))
    if run.HasField("queue"):
        print_field("waits", waiting(run.queue))
    if found["best_epoch"] is not None:
        ending = " (stopped early)" if found["stopped_early"] else ""
        print_field("best epoch", f"{found['best_epoch']} of {found['epochs']}{ending}")
    if found["skipped_steps"]:
        print_field("skipped steps", found["skipped_steps"])
    if found["bitwise"] is not None:
        because = found["not_bitwise_because"]
        print_field("bitwise", "yes" if found["bitwise"] else f"no: {because}")
    if run.attempt > 1:
        print_field("attempts", run.attempt)
    if run.restarts:
        print_field("server restarts", run.restarts)
    for field, label in DISPATCH.items():
        if count := found["dispatch"][field]:
            print_field(label, count)
    for key, value in sorted(found["labels"].items()):
        print_field("label", f"{key}={value}")
    if found["priority"]:
        print_field("priority", found["priority"])
    for warning in run.warnings:
        print_field("warning", warning)
