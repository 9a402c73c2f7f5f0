"""The service: gRPC API, run store, queue, metrics and Ray, wired together."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection

from sumgrad.trainer.addresses import host_and_port, is_loopback
from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.host import usable_cores
from sumgrad.trainer.service.access.audit import Audit
from sumgrad.trainer.service.access.authentication import Authenticator
from sumgrad.trainer.service.access.confinement import Confinement
from sumgrad.trainer.service.access.tls import Tls
from sumgrad.trainer.service.api.trainer_service import RunnerService, TrainerService
from sumgrad.trainer.service.calls.admission import Admission
from sumgrad.trainer.service.calls.backlog import Backlog
from sumgrad.trainer.service.calls.decoding import RequestDecoder
from sumgrad.trainer.service.calls.errors_to_status import ErrorsToStatus
from sumgrad.trainer.service.calls.gate import Gate
from sumgrad.trainer.service.calls.outstanding import counting_server
from sumgrad.trainer.service.calls.request_counter import RequestCounter
from sumgrad.trainer.service.calls.slow_readers import SlowReaders
from sumgrad.trainer.service.cluster.launcher import Launcher
from sumgrad.trainer.service.cluster.local_ray import LocalRay
from sumgrad.trainer.service.cluster.ray_cluster import RayCluster
from sumgrad.trainer.service.prometheus import Metrics
from sumgrad.trainer.service.runs.run_manager import RunManager
from sumgrad.trainer.service.settings import Limits, Settings, TlsFiles
from sumgrad.trainer.service.store.run_store import Store
from sumgrad.trainer.service.takeover.file_locks import FileLocks
from sumgrad.trainer.service.takeover.instance import Instance
from sumgrad.trainer.service.takeover.locks import Locks
from sumgrad.trainer.service.takeover.postgres_locks import PostgresLocks
from sumgrad.trainer.v1 import runner_pb2, runner_pb2_grpc, service_pb2, service_pb2_grpc

STOP_SECONDS = 2.0
"""Open calls have this long to end when the service stops."""


class Service:
    """Use as an async context manager.

    Attributes:
        address: where gRPC is served, once started.
        metrics_address, metrics_url: where /metrics is served, or None.
        store: the run store, without a password.

    Raises:
        UsageError: a setting cannot be used.
        StoreError: the run store cannot be opened.
    """

    def __init__(self, settings: Settings) -> None:
        settings.check()
        self._settings = settings
        self._tls = None if settings.tls is None else Tls.read(settings.tls)
        self._confinement = (
            Confinement.of(
                settings.data_roots, settings.snapshot_roots, settings.locations, settings.state
            )
            if settings.confines
            else None
        )
        self._authenticator: Authenticator | None = None
        self._metrics_server: Any = None
        self.address = ""
        self.metrics_address: str | None = None
        self.metrics_url: str | None = None
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
        others = self._settings.ray_address is not None
        self._launcher = Launcher(cluster, others and self._settings.code == "job")
        metrics = Metrics()
        self._manager = RunManager(
            self._store,
            self._launcher,
            self._instance,
            metrics,
            self._settings.user_limits,
            self._settings.preemption,
            self._confinement,
        )
        limits = self._settings.limits
        name = service_pb2.DESCRIPTOR.services_by_name["TrainerService"].full_name
        errors, counter, gate = ErrorsToStatus(), RequestCounter(metrics), self._gate()
        # Last: what it lets through is the method's message.
        decoder = RequestDecoder()

        def interceptors(outstanding: Callable[[], int]) -> list[grpc.aio.ServerInterceptor]:
            admission = Admission(name, limits, Backlog(limits.calls, outstanding))
            readers = SlowReaders(limits.reader_seconds)
            return [errors, counter, admission, gate, readers, decoder]

        self._server = counting_server(interceptors, _options(limits))
        self._servers = [self._server]
        if self._settings.runner_address is not None:
            self._servers.append(
                grpc.aio.server(
                    interceptors=[errors, counter, gate, decoder], options=_options(limits)
                )
            )
        self._api = TrainerService(self._manager)
        service_pb2_grpc.add_TrainerServiceServicer_to_server(self._api, self._server)
        runner_pb2_grpc.add_RunnerServiceServicer_to_server(
            RunnerService(self._manager), self._servers[-1]
        )
        self._add_standard_services()
        try:
            self._listen(metrics)
            await self._manager.start()
            for server in self._servers:
                await server.start()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    def _cluster(self) -> LocalRay | RayCluster:
        settings = self._settings
        if settings.ray_address is None:
            return LocalRay(usable_cores())
        cluster = RayCluster(settings.ray_address)
        cluster.check_reaches(settings.advertise or settings.runner_address or settings.address)
        return cluster

    def _locks(self) -> Locks:
        store = self._settings.store
        if store is None:
            return FileLocks(self._settings.state / "services")
        return PostgresLocks(store)

    def _gate(self) -> Gate:
        if self._settings.authenticates:
            self._authenticator = Authenticator(self._store.tokens)
        return Gate(self._authenticator, self._manager.get, Audit(self._settings.state))

    def _add_standard_services(self) -> None:
        names = [
            service_pb2.DESCRIPTOR.services_by_name["TrainerService"].full_name,
            runner_pb2.DESCRIPTOR.services_by_name["RunnerService"].full_name,
            health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
        ]
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if self._settings.reflection:
            reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], self._server)
        self._names = ["", *names[:1]]

    def _listen(self, metrics: Metrics) -> None:
        settings, attempts = self._settings, self._manager.attempts
        self.address = self._open_port(self._server, settings.address, "--address")
        runners = self.address
        if settings.runner_address is not None:
            runners = self._open_port(
                self._servers[-1], settings.runner_address, "--runner-address"
            )
        attempts.service_address = settings.advertise or runners
        attempts.service_tls = self._tls
        if self._settings.metrics_address is not None:
            metrics_host, metrics_port = host_and_port(self._settings.metrics_address)
            try:
                found, self._metrics_server = metrics.serve(
                    metrics_host, metrics_port, self._metrics_tls()
                )
            except OSError as error:
                raise UsageError(
                    f"metrics cannot be served at {self._settings.metrics_address}: "
                    f"{error.strerror}; choose another with --metrics-address"
                ) from None
            self.metrics_address = f"{metrics_host}:{found}"
            scheme = "http" if self._metrics_tls() is None else "https"
            self.metrics_url = f"{scheme}://{self.metrics_address}/metrics"

    def _open_port(self, server: grpc.aio.Server, address: str, option: str) -> str:
        """The address with the port that was found."""
        host, _ = host_and_port(address)
        try:
            if self._tls is None:
                port = server.add_insecure_port(address)
            else:
                asks = server is self._server
                port = server.add_secure_port(address, self._tls.credentials(asks))
        except RuntimeError:
            raise UsageError(
                f"{address} is in use; stop what listens there or choose another with {option}"
            ) from None
        return f"{host}:{port}"

    def _metrics_tls(self) -> TlsFiles | None:
        """What other machines reach is encrypted here too."""
        address = self._settings.metrics_address
        return None if address is None or is_loopback(address) else self._settings.tls

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
        self._manager.watching.stop()
        self._manager.logs.stop()
        for server in self._servers:
            await server.stop(STOP_SECONDS)
        self._api.close()
        await self._manager.close()
        if self._metrics_server is not None:
            self._metrics_server.shutdown()
            self._metrics_server.server_close()
        await self._launcher.close()
        if self._authenticator is not None:
            self._authenticator.close()
        self._store.close()
        self._instance.close()


PENDING = 50
"""Times the limit of calls, gRPC's own bound on those that wait in it. Beyond, it cancels calls,
which looks to clients as if they had done so; so it is far from what the service refuses itself."""


def _options(limits: Limits) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.keepalive_time_ms", limits.keepalive_seconds * 1000),
        ("grpc.keepalive_timeout_ms", limits.keepalive_timeout_seconds * 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", limits.shortest_ping_seconds * 1000),
        ("grpc.server_handshake_timeout_ms", limits.handshake_seconds * 1000),
        ("grpc.max_connection_idle_ms", limits.idle_seconds * 1000),
        ("grpc.server.max_pending_requests", PENDING * limits.calls),
        ("grpc.server.max_pending_requests_hard_limit", 2 * PENDING * limits.calls),
        # What one connection carries beyond that waits at its client.
        ("grpc.max_concurrent_streams", limits.calls + limits.streams),
        # Two services on one port would split the calls between them.
        ("grpc.so_reuseport", 0),
    ]
