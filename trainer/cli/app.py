"""The commands. Figures go to stdout, everything else to stderr."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from sumgrad.trainer.addresses import DEFAULT_ADDRESS, DEFAULT_METRICS_ADDRESS, host_and_port
from sumgrad.trainer.cli.exit_codes import ExitCode, of_run
from sumgrad.trainer.cli.options import State, StoreUrl, without_secret
from sumgrad.trainer.cli.verbs.describe import description_document, parse_shape, print_description
from sumgrad.trainer.cli.verbs.follow import follow
from sumgrad.trainer.cli.verbs.gradcheck import print_report, report_document
from sumgrad.trainer.cli.verbs.logs import print_logs
from sumgrad.trainer.cli.verbs.predict import print_prediction, read_input, write_scores
from sumgrad.trainer.cli.verbs.show import (
    digests,
    document,
    parse_state,
    print_json,
    print_summary,
    print_table,
)
from sumgrad.trainer.cli.verbs.tokens import app as tokens
from sumgrad.trainer.cli.verbs.verify import print_verification, verification_document
from sumgrad.trainer.client import (
    Client,
    ClientError,
    RunHandle,
    UnreachableError,
    read_spec,
    requests,
)
from sumgrad.trainer.client.weights_download import DamagedDownloadError
from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.extras import needs
from sumgrad.trainer.host import state_directory, usable_cores
from sumgrad.trainer.record import states
from sumgrad.trainer.record.enum_names import state_name
from sumgrad.trainer.record.verification import (
    CannotVerifyError,
    compare,
    marks,
    replay,
    replayed_steps,
)
from sumgrad.trainer.service.cluster.ray_api import RayError
from sumgrad.trainer.service.queue.scheduling import UserLimits, workers_limit
from sumgrad.trainer.service.settings import Code, Limits, Settings, TlsFiles
from sumgrad.trainer.service.store.store_errors import StoreError
from sumgrad.trainer.spec.fit import check_against_data
from sumgrad.trainer.spec.parse import parse
from sumgrad.trainer.spec.violations import InvalidSpecError
from sumgrad.trainer.study.describe import describe as describe_network
from sumgrad.trainer.study.gradcheck import check_spec
from sumgrad.trainer.v1 import run_pb2

app = typer.Typer(
    help="Train networks on many workers, with the same bits at any number of them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(tokens, name="token")

SpecFile = Annotated[Path, typer.Argument(help="A specification in TOML.", metavar="SPEC")]
RunId = Annotated[str, typer.Argument(help="A run's id, like r-1a2b3c4d.", metavar="RUN")]
Workers = Annotated[int | None, typer.Option(help="Number of workers, instead of workers.count.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Another value for a field: train.batch_size=64. Repeatable."),
]
StartFrom = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="CHECKPOINT",
        help="Start with the weights of this file, or of the newest snapshot in this folder.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Address = Annotated[
    str | None,
    typer.Option(
        envvar="SUMGRAD_ADDRESS", help=f"The service's host:port.  [default: {DEFAULT_ADDRESS}]"
    ),
]
Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label. Repeatable.")
]
Priority = Annotated[
    int, typer.Option(min=-(2**31), max=2**31 - 1, help="A higher one starts first.")
]
RequestId = Annotated[
    str | None,
    typer.Option(help="The same id with the same submission gives the same run.  [default: new]"),
]


@app.callback()
def connection(
    ca: Annotated[
        Path | None,
        typer.Option(envvar="SUMGRAD_CA", help="Certificates that vouch for the service (PEM)."),
    ] = None,
    cert: Annotated[
        Path | None,
        typer.Option(envvar="SUMGRAD_CERT", help="Your own certificate, if it asks for one (PEM)."),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(envvar="SUMGRAD_KEY", help="Key of your certificate (PEM).")
    ] = None,
) -> None:
    # Where every client of the command looks; a token has no option, for others could read it.
    for name, path in (("SUMGRAD_CA", ca), ("SUMGRAD_CERT", cert), ("SUMGRAD_KEY", key)):
        if path is not None:
            os.environ[name] = str(path)


@app.command()
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


@app.command()
def run(
    spec: SpecFile,
    workers: Workers = None,
    overrides: Overrides = None,
    start_from: StartFrom = None,
    labels: Labels = None,
    priority: Priority = 0,
    request_id: RequestId = None,
    json: Json = False,
    address: Address = None,
    state: State = None,
) -> None:
    """Train: submit a run, follow it, print its figures.

    Uses the service at the address if there is one, and otherwise starts one for this run.
    """
    content = read_spec(spec, workers, tuple(overrides or ()), start_from)
    parsed = parse(content)
    wishes = _wishes(labels, priority, request_id)
    if address is not None or _reachable(DEFAULT_ADDRESS):
        with Client(_checked(address)) as client:
            _watch(client.submit(content, **wishes), json)
        return
    # The service checks for itself, but starting one takes seconds.
    check_against_data(parsed, workers_limit(usable_cores()))
    with _own_service(state) as client:
        ended = _run_to_end(client, content, **wishes)
    _finish(ended, json)


@app.command("run-job")
def run_job(
    spec: SpecFile,
    workers: Workers = None,
    overrides: Overrides = None,
    start_from: StartFrom = None,
    *,
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the weights and the snapshots.")
    ],
    json: Json = False,
) -> None:
    """Train without a service, in a Ray job: `ray job submit -- sumgrad run-job SPEC --output DIR`.

    Launched again with the same folder, an interrupted run goes on from its last snapshot.
    """
    from sumgrad.trainer.runner.run_job import run_job as run_it

    content = parse(read_spec(spec, workers, tuple(overrides or ()), start_from))
    ended = run_it(content, output, follow)
    _show(ended, json)
    if ended.state == run_pb2.RUN_STATE_PAUSED:
        raise typer.Exit(ExitCode.INTERRUPTED)
    raise typer.Exit(of_run(ended))


@contextlib.contextmanager
def _own_service(state: Path | None) -> Iterator[Client]:
    """A client of a service that lasts as long as this command."""
    from sumgrad.trainer.service.embedded import EmbeddedService

    _say(f"no service at {DEFAULT_ADDRESS}: starting one for this run")
    embedded = EmbeddedService(state or state_directory())
    # Whatever the environment says of another service.
    plain = dict.fromkeys(("token", "ca", "certificate", "key"), "")
    with _interruptible(), embedded, Client(embedded.address, **plain) as client:
        yield client


def _wishes(labels: list[str] | None, priority: int, request_id: str | None) -> dict[str, Any]:
    """What a submission has beside its specification."""
    return {"labels": _labels(labels), "priority": priority, "request_id": request_id}


def _labels(given: list[str] | None) -> dict[str, str]:
    found = {}
    for label in given or ():
        key, equals, value = label.partition("=")
        if not equals or not key:
            raise UsageError(f"--label must be KEY=VALUE, got {label!r}")
        found[key] = value
    return found


def _run_to_end(client: Client, content: dict[str, Any], **wishes: Any) -> run_pb2.Run:
    """Submit and follow a run that nobody else looks after: Ctrl-C cancels it."""
    submitted = client.submit(content, **wishes)
    try:
        follow(submitted.watch())
    except KeyboardInterrupt:
        _say("cancelling the run")
        with contextlib.suppress(ClientError):
            submitted.cancel()
            _say(f"{submitted.id} is {state_name(submitted.wait().state)}")
        raise
    return submitted.refresh()


@app.command()
def submit(
    spec: SpecFile,
    workers: Workers = None,
    overrides: Overrides = None,
    start_from: StartFrom = None,
    labels: Labels = None,
    priority: Priority = 0,
    request_id: RequestId = None,
    json: Json = False,
    address: Address = None,
) -> None:
    """Submit a run to the service and return."""
    content = read_spec(spec, workers, tuple(overrides or ()), start_from)
    with Client(_checked(address)) as client:
        submitted = client.submit(content, **_wishes(labels, priority, request_id))
    if json:
        print_json(document(submitted.info))
    else:
        print(submitted.id)
        _say(f"follow it with: sumgrad watch {submitted.id}")


@app.command()
def watch(run_id: RunId, json: Json = False, address: Address = None) -> None:
    """Follow a run to its end. Ctrl-C leaves the run going."""
    with Client(_checked(address)) as client:
        _watch(client.run(run_id), json)


def _watch(watched: RunHandle, json: bool) -> None:
    try:
        follow(watched.watch())
    except KeyboardInterrupt:
        _say(f"the run goes on; come back with: sumgrad watch {watched.id}")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    _finish(watched.refresh(), json)


def _finish(ended: run_pb2.Run, json: bool) -> None:
    _show(ended, json)
    raise typer.Exit(of_run(ended))


@app.command("list")
def list_runs(
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many.")] = 50,
    states: Annotated[
        list[str] | None,
        typer.Option("--state", help="Those in this state, like running. Repeatable."),
    ] = None,
    name: Annotated[
        str, typer.Option(help="Those of this name; 'digits*' finds all that begin so.")
    ] = "",
    labels: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="KEY=VALUE", help="Those with this label. Repeatable."),
    ] = None,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="The oldest first.")] = False,
    json: Json = False,
    address: Address = None,
) -> None:
    """List runs, newest first."""
    wanted = [parse_state(state) for state in states or ()]
    with Client(_checked(address)) as client:
        runs = client.list(
            limit,
            states=wanted,
            name=name,
            labels=_labels(labels),
            oldest_first=oldest_first,
        )
    if json:
        print_json([document(found) for found in runs])
    elif runs or not (states or name or labels):
        print_table(runs)
    else:
        _say("no run is like that")


@app.command()
def show(run_id: RunId, json: Json = False, address: Address = None) -> None:
    """Show one run; with --json, the digests of its weights after each epoch too."""
    with Client(_checked(address)) as client:
        found = client.get(run_id)
        on_the_way = marks(client.events(run_id)) if json else []
    if json:
        print_json(document(found) | {"digests": digests(on_the_way)})
    else:
        print_summary(found)


@app.command()
def verify(
    run_id: RunId,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of workers, instead of the run's.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Replay at most this many steps.")
    ] = None,
    json: Json = False,
    address: Address = None,
    state: State = None,
) -> None:
    """Replay a run and compare the bits: the weights after each epoch, and at the end.

    The exit code is 5 if they differ. Uses the service at the address if there is one, and
    otherwise starts one for the replay, on the same state folder as `run`.
    """
    running = address is not None or _reachable(DEFAULT_ADDRESS)
    with Client(_checked(address)) if running else _own_service(state) as client:
        _verify(client, run_id, workers, steps, json)


def _verify(
    client: Client, run_id: str, workers: int | None, steps: int | None, json: bool
) -> None:
    found, recorded = client.get(run_id), marks(client.events(run_id))
    stop_after = replayed_steps(found, recorded, steps)
    again = _run_to_end(client, replay(found, workers, stop_after))
    if again.state != run_pb2.RUN_STATE_SUCCEEDED:
        _say(f"the replay {again.id} is {state_name(again.state)}, so nothing was compared")
        _finish(again, json)
    comparison = compare(found, recorded, again, marks(client.events(again.id)))
    if json:
        print_json(verification_document(found, again, comparison))
    else:
        print_verification(found, again, comparison)
    raise typer.Exit(ExitCode.OK if comparison.same else ExitCode.OTHER_BITS)


@app.command()
def cancel(run_id: RunId, json: Json = False, address: Address = None) -> None:
    """Stop a run, and wait until it has stopped."""
    with Client(_checked(address)) as client:
        client.cancel(run_id)
        ended = client.wait(run_id)
    _show(ended, json)


@app.command()
def delete(run_id: RunId, address: Address = None) -> None:
    """Forget a run that has ended, and delete its weights and snapshots in the state folder."""
    with Client(_checked(address)) as client:
        client.delete(run_id)
    _say(f"{run_id} is deleted")


@app.command()
def logs(
    run_id: RunId,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the run ends.")] = False,
    sources: Annotated[
        list[str] | None,
        typer.Option(
            "--source", help="Of service, runner, server or a worker, like worker-0. Repeatable."
        ),
    ] = None,
    after: Annotated[int, typer.Option(min=0, help="Lines after this sequence number.")] = 0,
    json: Annotated[
        bool, typer.Option("--json/--text", help="One JSON object a line, or text for reading.")
    ] = True,
    address: Address = None,
) -> None:
    """Print what the processes of a run have logged. Ctrl-C leaves the run going."""
    with Client(_checked(address)) as client:
        lines = client.logs(run_id, follow=follow, after=after, sources=tuple(sources or ()))
        print_logs(lines, json)


@app.command()
def weights(
    run_id: RunId,
    output: Annotated[
        Path | None, typer.Option(help="Where to write them.  [default: RUN.safetensors]")
    ] = None,
    step: Annotated[
        int | None, typer.Option(min=0, help="Of the snapshot of this step.  [default: newest]")
    ] = None,
    address: Address = None,
) -> None:
    """Download the weights of a run, or of its newest snapshot, as a safetensors file."""
    path = output or Path(f"{run_id}.safetensors")
    with Client(_checked(address)) as client:
        try:
            found = client.save_weights(run_id, path, step)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    origin = f"the snapshot of step {found.step}" if found.snapshot else f"step {found.step}"
    _say(f"weights of {origin}, {found.size} bytes")
    print(path)


@app.command()
def predict(
    run_id: RunId,
    rows: Annotated[
        Path, typer.Option("--input", metavar="FILE", help="Rows: .npy, or .npz with --array.")
    ],
    array: Annotated[str | None, typer.Option(help="Which array of a .npz file.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the scores to this .npy file instead of JSON.")
    ] = None,
    step: Annotated[
        int | None, typer.Option(min=0, help="By the snapshot of this step.  [default: newest]")
    ] = None,
    address: Address = None,
) -> None:
    """Scores, and classes where there are any, of rows as the network of a run sees them."""
    x = read_input(rows, array)
    with Client(_checked(address)) as client:
        found = client.predict(run_id, x, step)
    if output is None:
        print_prediction(found)
        return
    try:
        write_scores(found, output)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from None
    print(output)


@app.command()
def describe(
    spec: SpecFile,
    overrides: Overrides = None,
    input_shape: Annotated[
        str | None,
        typer.Option(metavar="480x640x3", help="A sample's shape; the data is then not looked at."),
    ] = None,
    json: Json = False,
) -> None:
    """Show a network layer by layer, without building it: shapes, parameters, work of a step.

    FLOP are floating-point operations of a whole batch; in the first layer with parameters they
    still count the feedback of its input, which training skips. Bytes are float32: every output
    of the batch, kept for the way back, all parameters read, and all gradients written.
    """
    content = parse(read_spec(spec, None, tuple(overrides or ())))
    shape = None if input_shape is None else parse_shape(input_shape)
    found = describe_network(content, shape)
    if json:
        print_json(description_document(found))
    else:
        print_description(found)


@app.command()
def gradcheck(
    spec: SpecFile,
    overrides: Overrides = None,
    rows: Annotated[int, typer.Option(min=1, help="Samples of a batch.")] = 4,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of all draws, instead of the specification's.")
    ] = None,
    json: Json = False,
) -> None:
    """Check every derivative of a network against differences, in float64 on random inputs.

    The exit code is 1 if a relative error is above 1e-6. The data is described, not loaded.
    """
    content = parse(read_spec(spec, None, tuple(overrides or ())))
    report = check_spec(content, rows, content.seed if seed is None else seed)
    if json:
        print_json(report_document(content, report))
    else:
        print_report(content, report)
    raise typer.Exit(ExitCode.OK if report.passed else ExitCode.CHECK_FAILED)


@app.command()
def pause(run_id: RunId, json: Json = False, address: Address = None) -> None:
    """Have a run take a snapshot and stop there, and wait until it has.

    What the run warns of meanwhile is shown, such as a full disk that lets it go on.
    """
    with Client(_checked(address)) as client:
        client.pause(run_id)
        for response in client.watch(run_id):
            if response.event.HasField("warning"):
                _say(f"warning: {response.event.warning.message}")
            if requests.state(response) in states.RESTING:
                break
        found = client.get(run_id)
    _show(found, json)


@app.command()
def resume(run_id: RunId, json: Json = False, address: Address = None) -> None:
    """Have a paused run go on from its last snapshot."""
    with Client(_checked(address)) as client:
        found = client.resume(run_id)
    _show(found, json)


@app.command()
def scale(
    run_id: RunId,
    workers: Annotated[int, typer.Option(min=1, help="How many workers the run shall have.")],
    json: Json = False,
    address: Address = None,
) -> None:
    """Give a run another number of workers, while it runs; its result stays the same."""
    with Client(_checked(address)) as client:
        found = client.scale(run_id, workers)
    _show(found, json)


def _show(run: run_pb2.Run, json: bool) -> None:
    if json:
        print_json(document(run))
    else:
        print_summary(run)


def _checked(address: str | None) -> str:
    host_and_port(address or DEFAULT_ADDRESS)
    return address or DEFAULT_ADDRESS


def _reachable(address: str) -> bool:
    with Client(address) as client:
        return client.reachable()


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM is treated like Ctrl-C, so that nothing is left running."""

    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Run the command; every expected error is a sentence and an exit code."""
    sys.exit(_main())


def _main() -> int:
    try:
        app()
    except InvalidSpecError as error:
        for violation in error.violations:
            _say(f"error: {violation}")
        return ExitCode.BAD_INPUT
    except (UsageError, StoreError, CannotVerifyError, DamagedDownloadError) as error:
        _say(f"error: {error}")
        return ExitCode.BAD_INPUT
    except (UnreachableError, RayError) as error:
        _say(f"error: {error}")
        return ExitCode.NO_SERVICE
    except ClientError as error:
        _say(f"error: {error}")
        return ExitCode.BAD_INPUT
    except KeyboardInterrupt:
        _say("interrupted")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout, like `head`, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else ExitCode.BAD_INPUT
    except Exception as error:
        if needed := needs(error):
            _say(f"error: this {needed}")
            return ExitCode.BAD_INPUT
        if os.environ.get("SUMGRAD_DEBUG"):
            raise
        _say(f"internal error: {type(error).__name__}: {error}")
        _say("this is a mistake in sumgrad; SUMGRAD_DEBUG=1 shows where, please report it")
        return ExitCode.INTERNAL_ERROR
    return ExitCode.OK
