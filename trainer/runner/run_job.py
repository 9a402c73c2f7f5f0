"""A run without a service, in the driver of a Ray job that was submitted by hand."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import ray

from sumgrad.trainer.runner.processes import ray_reason
from sumgrad.trainer.runner.runner import run
from sumgrad.trainer.runner.upstream.local import LocalUpstream, locked_folder
from sumgrad.trainer.service.cluster.launcher import ONE_THREAD
from sumgrad.trainer.service.cluster.ray_api import RayError
from sumgrad.trainer.spec.fit import check_against_data
from sumgrad.trainer.spec.run_spec import RunSpec
from sumgrad.trainer.v1 import run_pb2, service_pb2

Show = Callable[[Iterable[service_pb2.WatchRunResponse]], None]


def run_job(spec: RunSpec, output: Path, show: Show) -> run_pb2.Run:
    """Train on the Ray cluster that this process belongs to; return the run as it ended.

    An interrupted run goes on from its last snapshot in the same folder. On SIGTERM, which
    ``ray job stop`` sends, and on SIGINT it takes a snapshot and stops.

    Args:
        output: where weights and snapshots go; one folder, one run.
        show: shows what happens, in a thread of its own.

    Raises:
        InvalidSpecError, UsageError
        RayError: there is no cluster.
    """
    check_against_data(spec)
    with locked_folder(output):
        _connect()
        try:
            return _run(LocalUpstream(spec, output.resolve()), show)
        finally:
            ray.shutdown()


def _run(upstream: LocalUpstream, show: Show) -> run_pb2.Run:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: upstream.pause())
    shown = threading.Thread(target=show, args=(upstream.watch(),))
    shown.start()
    try:
        run(upstream)
    except ray.exceptions.RayError as error:
        raise RayError(
            f"Ray has failed ({ray_reason(error)}); the same command goes on from the last snapshot"
        ) from None
    finally:
        upstream.close()
        shown.join()
    return upstream.run


def _connect() -> None:
    """Connect to the job's cluster, or to the one that runs on this machine.

    Raises:
        RayError
    """
    try:
        ray.init("auto", log_to_driver=False, runtime_env={"env_vars": ONE_THREAD})
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RayError(
            f"there is no Ray cluster to run on ({str(error).splitlines()[0]}); use "
            "`ray job submit -- sumgrad run-job …`, or set RAY_ADDRESS to a cluster's host:port"
        ) from None
