"""A run in the driver of a Ray job that somebody submitted by hand, without a service."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import ray

from sumgrad.trainer.runner.runner import Runner, ray_reason
from sumgrad.trainer.runner.upstream.local import LocalLink, alone_in
from sumgrad.trainer.service.cluster.launcher import ONE_THREAD
from sumgrad.trainer.service.cluster.ray_api import RayError
from sumgrad.trainer.spec.fit import check_against_data
from sumgrad.trainer.spec.run_spec import RunSpec
from sumgrad.trainer.v1 import run_pb2, service_pb2

Show = Callable[[Iterable[service_pb2.WatchRunResponse]], None]


def run_job(spec: RunSpec, output: Path, show: Show) -> run_pb2.Run:
    """Train on the Ray cluster that this process belongs to; the run as it ended.

    An interrupted run goes on from its last snapshot in the same folder. SIGTERM, which
    ``ray job stop`` sends, and SIGINT have it take a snapshot and stop.

    Args:
        output: where weights and snapshots go; one folder, one run.
        show: shows what happens, in a thread of its own.

    Raises:
        InvalidSpecError, UsageError
        RayError: there is no cluster.
    """
    check_against_data(spec)
    with alone_in(output):
        _connect()
        try:
            return _run(LocalLink(spec, output.resolve()), show)
        finally:
            ray.shutdown()


def _run(link: LocalLink, show: Show) -> run_pb2.Run:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: link.pause())
    shown = threading.Thread(target=show, args=(link.watch(),))
    shown.start()
    try:
        Runner(link).run()
    except ray.exceptions.RayError as error:
        raise RayError(
            f"Ray has failed ({ray_reason(error)}); the same command goes on from the last snapshot"
        ) from None
    finally:
        link.close()
        shown.join()
    return link.run


def _connect() -> None:
    """To the cluster of the job, or to the one that runs here; none is started.

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
