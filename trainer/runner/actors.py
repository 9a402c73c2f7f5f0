"""The Ray actors: the only file that knows ``ray.remote``."""

from __future__ import annotations

from typing import Any

import ray

from trainer.server.parameter_server import ParameterServer, TrainingPlan
from workers.channel import ServerAddress, Vectors
from workers.faults import FaultPlan
from workers.job import Job
from workers.log_buffer import LogBuffer
from workers.worker import work


class _Server:
    """The parameter server of one attempt."""

    def __init__(self, plan: TrainingPlan) -> None:
        log = LogBuffer()
        log.capture()
        self._server = ParameterServer(plan, ray.util.get_node_ip_address(), log=log)

    def address(self) -> ServerAddress:
        return self._server.address

    def train(self) -> None:
        self._server.train()


class _Worker:
    """One worker."""

    def work(
        self, job: Job, address: ServerAddress, name: str, vectors: Vectors, faults: FaultPlan
    ) -> None:
        log = LogBuffer()
        log.capture()
        work(job, address, name, vectors, faults, log)


ServerActor: Any = ray.remote(num_cpus=0, max_restarts=0, max_concurrency=2)(_Server)
WorkerActor: Any = ray.remote(max_restarts=0)(_Worker)
