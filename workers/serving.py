"""A worker's life: join a server, compute what it asks for, answer, until it says stop."""

from __future__ import annotations

import logging
import math
import os
import platform

from sumgrad.layers.losses import TargetError
from sumgrad.workers.channel import ServerAddress, Vectors, WorkerEndpoint
from sumgrad.workers.datasets import DatasetError, data_digest
from sumgrad.workers.drills.drill import NO_FAULTS, Drill, FaultPlan
from sumgrad.workers.job import Job
from sumgrad.workers.logs.log_buffer import LogBuffer
from sumgrad.workers.v1 import work_pb2
from sumgrad.workers.worker import Worker, sums_needed

SILENCE_SECONDS = 60.0
"""A server pings every few seconds; one that is silent for this long is gone."""

_LOG = logging.getLogger(__name__)


class ServerSilentError(RuntimeError):
    """Nothing has come from the parameter server for SILENCE_SECONDS."""


class RefusedError(RuntimeError):
    """The parameter server does not want this worker; the message is its reason."""


def work(
    job: Job,
    address: ServerAddress,
    name: str,
    vectors: Vectors = "auto",
    faults: FaultPlan = NO_FAULTS,
    log: LogBuffer | None = None,
) -> None:
    """Join a server and compute its tasks until it says stop.

    Args:
        log: what comes there is sent to the server.

    Raises:
        DatasetError, TargetError: the data cannot be used here; the server gets the reason.
        InjectedFaultError: a drill asks for it; the server gets the reason.
        RefusedError: the server does not want this worker.
        ServerSilentError: the server is gone.
    """
    data = job.source.describe()
    size, rows = job.network(data).size, sums_needed(job.sampling(data).shards)
    with WorkerEndpoint(address, name, size, rows, vectors) as endpoint:
        try:
            loaded = job.source.load()
            worker = Worker(job, loaded, endpoint.weights, endpoint.sums)
            endpoint.join(data_digest(loaded))
            _LOG.info(
                "ready on host %s as process %d: %d training rows, %s",
                platform.node(), os.getpid(), len(loaded.train), endpoint.kind,
            )  # fmt: skip
            _send_log(endpoint, log)
            # A replacement, such as worker-0.1, is drilled as the worker that it replaces.
            _serve(worker, endpoint, faults.drill(name.partition(".")[0]), log)
        except (ServerSilentError, RefusedError):
            raise
        except Exception as error:
            permanent = isinstance(error, (DatasetError, TargetError))
            endpoint.fail(f"{type(error).__name__}: {error}", permanent)
            raise
        finally:
            _send_log(endpoint, log)


def _send_log(endpoint: WorkerEndpoint, log: LogBuffer | None) -> None:
    if log is not None and (lines := log.take()):
        endpoint.log(lines)


def _serve(worker: Worker, endpoint: WorkerEndpoint, drill: Drill, log: LogBuffer | None) -> None:
    while True:
        message = endpoint.receive(SILENCE_SECONDS)
        if message is None:
            raise ServerSilentError(f"nothing came from the server for {SILENCE_SECONDS:.0f} s")
        kind = message.WhichOneof("kind")
        if kind == "stop":
            if message.stop.refused:
                raise RefusedError(message.stop.refused)
            return
        if kind == "task":
            task = message.task
            if task.HasField("gradient"):
                _answer_gradient(worker, endpoint, drill, task)
            else:
                endpoint.answer(*worker.compute(task))
            worker.gather_ahead(task)
        if log is not None and log.due():
            _send_log(endpoint, log)


def _answer_gradient(
    worker: Worker, endpoint: WorkerEndpoint, drill: Drill, task: work_pb2.Task
) -> None:
    step = task.gradient.step + 1
    poisoned = drill.at("compute", step)
    answer, vectors = worker.compute(task)
    if drill.at("answer", step) or poisoned:
        endpoint.sums[0, 0] = math.nan
    endpoint.answer(answer, vectors)
