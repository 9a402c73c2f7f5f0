"""The Ray actors: the only file that knows ``ray.remote``."""

from __future__ import annotations

import gc
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sumgrad.trainer.server.parameter_server import ParameterServer
from sumgrad.trainer.server.training_plan import TrainingPlan
from sumgrad.workers.channel import ServerAddress, Vectors
from sumgrad.workers.drills.drill import FaultPlan
from sumgrad.workers.job import Job
from sumgrad.workers.logs.log_buffer import LogBuffer
from sumgrad.workers.serving import work


class _Server:
    """The parameter server of one attempt."""

    def __init__(self, plan: TrainingPlan) -> None:
        log = LogBuffer()
        log.capture()
        self._server = ParameterServer(plan, ray.util.get_node_ip_address(), log=log)

    def address(self) -> ServerAddress:
        return self._server.address

    def train(self) -> None:
        _settle()
        self._server.train()


class _Worker:
    """One worker."""

    def work(
        self, job: Job, address: ServerAddress, name: str, vectors: Vectors, faults: FaultPlan
    ) -> None:
        log = LogBuffer()
        log.capture()
        _settle()
        work(job, address, name, vectors, faults, log)


def _settle() -> None:
    """Keep what this process has imported, which stays, out of garbage collection."""
    gc.collect()
    gc.freeze()


def start_server(plan: TrainingPlan) -> Any:
    """Start the parameter server on the runner's node, whose folder it needs."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ServerActor.options(scheduling_strategy=here).remote(plan)


def start_worker(cpus: float) -> Any:
    """Start a worker that reserves so many CPUs; spread workers over the nodes."""
    return WorkerActor.options(num_cpus=cpus, scheduling_strategy="SPREAD").remote()


ServerActor: Any = ray.remote(num_cpus=0, max_restarts=0, max_concurrency=2)(_Server)
WorkerActor: Any = ray.remote(max_restarts=0)(_Worker)
