"""``sumgrad serve``."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from sumgrad.trainer.addresses import DEFAULT_ADDRESS, DEFAULT_METRICS_ADDRESS
from sumgrad.trainer.cli.options import SERVICE, State, StoreUrl, without_secret
from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.host import state_directory
from sumgrad.trainer.service.queue.scheduling import UserLimits
from sumgrad.trainer.service.settings import Code, Limits, Settings, TlsFiles

app = typer.Typer()


@app.command(rich_help_panel=SERVICE)
def serve(
    context: typer.Context,
    address: Annotated[
        str, typer.Option(help="Where to serve gRPC; port 0 takes a free one.")
    ] = DEFAULT_ADDRESS,
    metrics_address: Annotated[
        str, typer.Option(help="Where to serve /metrics over HTTP.")
    ] = DEFAULT_METRICS_ADDRESS,
    state: State = None,
    store: StoreUrl = None,
    max_runs_per_user: Annotated[
        int | None, typer.Option(min=1, help="Runs that one user may have going.")
    ] = None,
    max_cpus_per_user: Annotated[
        int | None, typer.Option(min=1, help="CPUs that one user's runs may hold.")
    ] = None,
    max_waiting_per_user: Annotated[
        int, typer.Option(min=1, help="Runs that one user may have queued or paused.")
    ] = UserLimits.waiting,
    max_priority: Annotated[
        int,
        typer.Option(
            min=-(2**31),
            max=2**31 - 1,
            help="The highest priority that submitters may ask for; admins may ask for any.",
        ),
    ] = UserLimits.priority,
    preemption: Annotated[
        bool,
        typer.Option(help="Whether runs give way, at a snapshot, to those of a higher priority."),
    ] = True,
    max_calls: Annotated[
        int, typer.Option(min=1, help="Calls of clients under way at a time; others are refused.")
    ] = Limits.calls,
    max_streams: Annotated[
        int, typer.Option(min=1, help="Streams of clients that watch, at a time.")
    ] = Limits.streams,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate and chain (PEM); serves TLS.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Key of the certificate (PEM).")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="Callers need a certificate of this CA (PEM).")
    ] = None,
    runner_address: Annotated[
        str | None,
        typer.Option(help="Where runners call, if not at --address; they need no certificate."),
    ] = None,
    auth: Annotated[
        bool,
        typer.Option(
            "--auth",
            envvar="SUMGRAD_AUTH",
            help="Ask for tokens on loopback too; elsewhere always.",
        ),
    ] = False,
    reflection: Annotated[
        bool, typer.Option("--reflection/--no-reflection", help="Tell clients the methods.")
    ] = True,
    data_root: Annotated[
        list[Path] | None,
        typer.Option(help="Data sets and checkpoints may lie under this folder. Repeatable."),
    ] = None,
    snapshot_root: Annotated[
        list[Path] | None,
        typer.Option(help="Snapshots and checkpoints may lie under this folder. Repeatable."),
    ] = None,
    allow_location: Annotated[
        list[str] | None,
        typer.Option(metavar="s3://BUCKET/FOLDER", help="And under this address. Repeatable."),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            envvar="RAY_ADDRESS",
            metavar="URL",
            help="The dashboard of a Ray cluster, like http://host:8265; its token from "
            "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH.  [default: a Ray of its own]",
        ),
    ] = None,
    code: Annotated[
        Code,
        typer.Option(help="On a cluster: sumgrad's code goes with each job, or is in its image."),
    ] = "job",
    advertise: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="How the cluster's nodes reach this service.  [default: --address]",
        ),
    ] = None,
) -> None:
    """Run the service until Ctrl-C or SIGTERM, with a Ray of its own or on a cluster."""
    settings = Settings(
        state or state_directory(),
        address,
        metrics_address,
        store=without_secret(context, store),
        limits=Limits(max_calls, max_streams),
        user_limits=UserLimits(
            max_runs_per_user, max_cpus_per_user, max_waiting_per_user, max_priority
        ),
        preemption=preemption,
        runner_address=runner_address,
        tls=_tls_files(tls_cert, tls_key, tls_client_ca),
        auth=auth,
        reflection=reflection,
        data_roots=tuple(data_root or ()),
        snapshot_roots=tuple(snapshot_root or ()),
        locations=tuple(allow_location or ()),
        ray_address=ray_address or None,
        code=code,
        advertise=advertise,
    )
    asyncio.run(_serve(settings))


def _tls_files(cert: Path | None, key: Path | None, client_ca: Path | None) -> TlsFiles | None:
    if cert is not None and key is not None:
        return TlsFiles(cert, key, client_ca)
    if cert is None and key is None and client_ca is None:
        return None
    raise UsageError("--tls-cert and --tls-key go together, and --tls-client-ca needs both")


async def _serve(settings: Settings) -> None:
    from sumgrad.trainer.service.malloc import give_back_memory
    from sumgrad.trainer.service.service import Service

    give_back_memory()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with Service(settings) as service:
        print(f"gRPC     {service.address}", flush=True)
        print(f"metrics  {service.metrics_url}", flush=True)
        print(f"state    {settings.state}", flush=True)
        print(f"store    {service.store}", flush=True)
        if settings.ray_address is not None:
            print(f"Ray      {settings.ray_address}", flush=True)
        ready = asyncio.create_task(service.ready())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({ready, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            ready.result()
            print("ready; Ctrl-C stops", flush=True)
        await stopped
        print("stopping", flush=True)
        ready.cancel()
        await asyncio.gather(ready, return_exceptions=True)
