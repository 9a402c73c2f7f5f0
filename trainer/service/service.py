"""The service: its parts, put together in the order in which they are needed."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection

from sumgrad.trainer.addresses import host_and_port, is_loopback
from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.host import usable_cores
from sumgrad.trainer.service.access.audit import Audit
from sumgrad.trainer.service.access.authentication import Authenticator
from sumgrad.trainer.service.access.confinement import Confinement, Unconfined
from sumgrad.trainer.service.access.tls import Tls
from sumgrad.trainer.service.api.runner_service import RunnerService
from sumgrad.trainer.service.api.trainer_service import TrainerService
from sumgrad.trainer.service.calls import servers
from sumgrad.trainer.service.calls.gate import Gate
from sumgrad.trainer.service.cluster.attempt_policy import ASSUMED_CORES
from sumgrad.trainer.service.cluster.attempts import Attempts
from sumgrad.trainer.service.cluster.launcher import Launcher
from sumgrad.trainer.service.cluster.local_ray import LocalRay
from sumgrad.trainer.service.cluster.ray_cluster import RayCluster
from sumgrad.trainer.service.outputs.predictor import Predictor
from sumgrad.trainer.service.prometheus import Metrics
from sumgrad.trainer.service.queue.waiting_runs import WaitingRuns
from sumgrad.trainer.service.runs.runner_calls import RunnerCalls
from sumgrad.trainer.service.runs.runs import Runs
from sumgrad.trainer.service.runs.submission import Submission
from sumgrad.trainer.service.settings import Settings
from sumgrad.trainer.service.store.run_store import RunStore
from sumgrad.trainer.service.takeover.file_locks import FileLocks
from sumgrad.trainer.service.takeover.instance import Instance
from sumgrad.trainer.service.takeover.postgres_locks import PostgresLocks
from sumgrad.trainer.v1 import runner_pb2, runner_pb2_grpc, service_pb2_grpc

RUNNER_SERVICE = runner_pb2.DESCRIPTOR.services_by_name["RunnerService"].full_name
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


@dataclass(frozen=True)
class StartedService:
    """A service that answers calls.

    Attributes:
        address: where gRPC is served.
        metrics_address, metrics_url: where /metrics is served, or None.
        store: the name of the run store, without a password.
        lasting: whether it outlives the command that started it.
    """

    address: str
    metrics_address: str | None
    metrics_url: str | None
    store: str
    lasting: bool
    health: health.HealthServicer
    launcher: Launcher
    runs: Runs
    submission: Submission
    runner_calls: RunnerCalls
    attempts: Attempts

    async def ready(self) -> None:
        """Tell health checks that calls are answered, and start Ray for the first run.

        Raises:
            RayError: Ray did not start.
        """
        for name in ("", servers.TRAINER_SERVICE):
            await self.health.set(name, health_pb2.HealthCheckResponse.SERVING)
        if self.lasting:
            await self.launcher.start()


class _Ports(NamedTuple):
    """The servers for clients and for runners, which may be one, and their addresses."""

    clients: grpc.aio.Server
    address: str
    runners: grpc.aio.Server
    runner_address: str


class Service:
    """An async context manager that starts a service and gives the ``StartedService``.

    What has been started is stopped in the opposite order, at the end and also where a later part
    cannot be started.

    Raises:
        UsageError: a setting cannot be used.
        StoreError: the run store cannot be opened.
    """

    def __init__(self, settings: Settings) -> None:
        settings.check()
        self._settings = settings
        self._tls = None if settings.tls is None else Tls.read(settings.tls)
        self._confinement = _confinement(settings)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> StartedService:
        async with AsyncExitStack() as stack:
            started = await self._start(stack)
            self._stack = stack.pop_all()
        return started

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def _start(self, stack: AsyncExitStack) -> StartedService:
        settings, confinement = self._settings, self._confinement
        cluster = self._cluster()
        store = stack.enter_context(closing(RunStore(settings.place)))
        locks = stack.enter_context(closing(_locks(settings)))
        instance = Instance(settings.state, settings.temporary, locks)
        others = settings.ray_address is not None
        launcher = Launcher(cluster, others and settings.code == "job")
        stack.push_async_callback(launcher.close)
        metrics = Metrics()
        queue = WaitingRuns(
            ASSUMED_CORES, time.monotonic, time.time, settings.user_limits, settings.preemption
        )
        runs = stack.enter_context(closing(Runs(store, instance, metrics, queue)))
        predictor = stack.enter_context(closing(Predictor(confinement.roots)))
        ports = await self._open_ports(stack, self._gate(stack, runs), metrics)
        metrics_address = self._serve_metrics(stack, metrics)

        found_at = settings.advertise or ports.runner_address
        attempts = Attempts(runs, launcher, confinement.confined, found_at, self._tls)
        submission = Submission(runs, confinement)
        runner_calls = RunnerCalls(runs, attempts.runner_called)
        service_pb2_grpc.add_TrainerServiceServicer_to_server(
            TrainerService(runs, submission, predictor, confinement.roots), ports.clients
        )
        runner_pb2_grpc.add_RunnerServiceServicer_to_server(
            RunnerService(runs, runner_calls, confinement.roots), ports.runners
        )
        checks = self._add_standard_services(ports.clients)

        stack.push_async_callback(attempts.close)
        await attempts.start()
        # At the end the clients' server stops first, so that runners can still report.
        for server in dict.fromkeys((ports.runners, ports.clients)):
            await stack.enter_async_context(servers.answering(server))
        stack.callback(runs.stop_streams)
        stack.push_async_callback(checks.enter_graceful_shutdown)
        return StartedService(
            address=ports.address,
            metrics_address=metrics_address,
            metrics_url=self._metrics_url(metrics_address),
            store=store.name,
            lasting=not settings.temporary,
            health=checks,
            launcher=launcher,
            runs=runs,
            submission=submission,
            runner_calls=runner_calls,
            attempts=attempts,
        )

    def _gate(self, stack: AsyncExitStack, runs: Runs) -> Gate:
        authenticator = None
        if self._settings.authenticates:
            authenticator = stack.enter_context(closing(Authenticator(runs.store.tokens)))
        return Gate(authenticator, runs.view, Audit(self._settings.state))

    async def _open_ports(self, stack: AsyncExitStack, gate: Gate, metrics: Metrics) -> _Ports:
        settings = self._settings
        clients = servers.client_server(settings, metrics, gate)
        address = await stack.enter_async_context(
            servers.open_port(clients, settings.address, "--address", self._credentials(True))
        )
        if settings.runner_address is None:
            return _Ports(clients, address, clients, address)
        runners = servers.runner_server(settings, metrics, gate)
        runner_address = await stack.enter_async_context(
            servers.open_port(
                runners, settings.runner_address, "--runner-address", self._credentials(False)
            )
        )
        return _Ports(clients, address, runners, runner_address)

    def _cluster(self) -> LocalRay | RayCluster:
        settings = self._settings
        if settings.ray_address is None:
            return LocalRay(usable_cores())
        cluster = RayCluster(settings.ray_address)
        cluster.check_reaches(settings.advertise or settings.runner_address or settings.address)
        return cluster

    def _credentials(self, ask_for_certificate: bool) -> grpc.ServerCredentials | None:
        return None if self._tls is None else self._tls.credentials(ask_for_certificate)

    def _add_standard_services(self, server: grpc.aio.Server) -> health.HealthServicer:
        checks = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(checks, server)
        if self._settings.reflection:
            names = [servers.TRAINER_SERVICE, RUNNER_SERVICE, HEALTH, reflection.SERVICE_NAME]
            reflection.enable_server_reflection(names, server)
        return checks

    def _serve_metrics(self, stack: AsyncExitStack, metrics: Metrics) -> str | None:
        """Serve /metrics; its address with the port that was found, or None."""
        address = self._settings.metrics_address
        if address is None:
            return None
        host, port = host_and_port(address)
        # What other machines reach is encrypted here too.
        tls = None if is_loopback(address) else self._settings.tls
        try:
            found, server = metrics.serve(host, port, tls)
        except OSError as error:
            raise UsageError(
                f"metrics cannot be served at {address}: {error.strerror}; "
                "choose another with --metrics-address"
            ) from None

        def stop() -> None:
            server.shutdown()
            server.server_close()

        stack.callback(stop)
        return f"{host}:{found}"

    def _metrics_url(self, address: str | None) -> str | None:
        if address is None:
            return None
        encrypted = self._settings.tls is not None and not is_loopback(address)
        return f"{'https' if encrypted else 'http'}://{address}/metrics"


def _confinement(settings: Settings) -> Confinement | Unconfined:
    if not settings.confines:
        return Unconfined()
    return Confinement.of(
        settings.data_root, settings.snapshot_root, settings.allow_location, settings.state
    )


def _locks(settings: Settings) -> FileLocks | PostgresLocks:
    if settings.store is None:
        return FileLocks(settings.state / "services")
    return PostgresLocks(settings.store)
