"""The service: gRPC API, run store, queue, metrics and Ray, wired together."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection

from trainer.metrics import Metrics
from trainer.service.api import RunnerService, TrainerService
from trainer.service.file_locks import FileLocks
from trainer.service.instance import Instance
from trainer.service.interceptor import RequestCounter
from trainer.service.launcher import Launcher
from trainer.service.local_ray import LocalRay
from trainer.service.locks import Locks
from trainer.service.postgres_locks import PostgresLocks
from trainer.service.ray_cluster import RayCluster
from trainer.service.run_manager import RunManager
from trainer.service.settings import Settings, SettingsError, host_and_port, require_loopback
from trainer.service.store import Store
from trainer.v1 import runner_pb2, runner_pb2_grpc, service_pb2, service_pb2_grpc

STOP_SECONDS = 2.0
"""Open calls have this long to end when the service stops."""

MAX_MESSAGE_BYTES = 4 * 2**20

_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Two services on one port would split the calls between them.
    ("grpc.so_reuseport", 0),
]


class Service:
    """Use as an async context manager.

    Attributes:
        address: where gRPC is served, once started.
        metrics_address: where /metrics is served, or None.
        store: the run store, without a password.

    Raises:
        SettingsError: an address cannot be used.
        StoreError: the run store cannot be opened.
    """

    def __init__(self, settings: Settings) -> None:
        require_loopback(settings.address)
        if settings.metrics_address is not None:
            require_loopback(settings.metrics_address)
        if settings.advertise is not None:
            host_and_port(settings.advertise)
        self._settings = settings
        self._metrics_server: Any = None
        self.address = ""
        self.metrics_address: str | None = None
        self.store = ""

    async def __aenter__(self) -> Service:
        cluster = self._cluster()
        state = self._settings.state
        self._store = Store(self._settings.place)
        self.store = self._store.name
        try:
            self._instance = Instance(state, self._settings.temporary, self._locks())
        except BaseException:
            self._store.close()
            raise
        self._launcher = Launcher(cluster, self._settings.code)
        metrics = Metrics()
        self._manager = RunManager(self._store, self._launcher, self._instance, metrics)
        self._server = grpc.aio.server(interceptors=[RequestCounter(metrics)], options=_OPTIONS)
        service_pb2_grpc.add_TrainerServiceServicer_to_server(
            TrainerService(self._manager), self._server
        )
        runner_pb2_grpc.add_RunnerServiceServicer_to_server(
            RunnerService(self._manager), self._server
        )
        self._add_standard_services()
        try:
            self._listen(metrics)
            await self._manager.start()
            await self._server.start()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    def _cluster(self) -> LocalRay | RayCluster:
        if self._settings.ray_address is None:
            return LocalRay(len(os.sched_getaffinity(0)))
        cluster = RayCluster(self._settings.ray_address)
        cluster.check_reaches(self._settings.advertise or self._settings.address)
        return cluster

    def _locks(self) -> Locks:
        store = self._settings.store
        if store is None:
            return FileLocks(self._settings.state / "services")
        return PostgresLocks(store)

    def _add_standard_services(self) -> None:
        names = [
            service_pb2.DESCRIPTOR.services_by_name["TrainerService"].full_name,
            runner_pb2.DESCRIPTOR.services_by_name["RunnerService"].full_name,
            health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
        ]
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], self._server)
        self._names = ["", *names[:1]]

    def _listen(self, metrics: Metrics) -> None:
        host, _ = host_and_port(self._settings.address)
        try:
            port = self._server.add_insecure_port(self._settings.address)
        except RuntimeError:
            raise SettingsError(
                f"{self._settings.address} is in use; stop what listens there or choose another "
                "with --address"
            ) from None
        self.address = f"{host}:{port}"
        self._manager.service_address = self._settings.advertise or self.address
        if self._settings.metrics_address is not None:
            metrics_host, metrics_port = host_and_port(self._settings.metrics_address)
            try:
                found, self._metrics_server = metrics.serve(metrics_host, metrics_port)
            except OSError as error:
                raise SettingsError(
                    f"metrics cannot be served at {self._settings.metrics_address}: "
                    f"{error.strerror}; choose another with --metrics-address"
                ) from None
            self.metrics_address = f"{metrics_host}:{found}"

    async def ready(self) -> None:
        """Say to health checks that calls are served, and have Ray started for the first run.

        Raises:
            RayError: Ray did not start.
        """
        for name in self._names:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        if not self._settings.temporary:
            await self._launcher.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._health.enter_graceful_shutdown()
        await self._manager.close()
        await self._server.stop(STOP_SECONDS)
        if self._metrics_server is not None:
            self._metrics_server.shutdown()
            self._metrics_server.server_close()
        await self._launcher.close()
        self._store.close()
        self._instance.close()
