"""``sumgrad serve``. Its options are those of the table of settings."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import types
from typing import TYPE_CHECKING, Annotated, Any, Optional, Union, get_args, get_origin

import typer

from sumgrad.trainer.cli.help import App
from sumgrad.trainer.cli.options import SERVICE, Config
from sumgrad.trainer.service.settings_table import Setting, table

if TYPE_CHECKING:
    from sumgrad.trainer.service.settings import Settings

app = App()


def serve(config: Config = None, **options: Any) -> None:
    """Run the service until Ctrl-C or SIGTERM, with a Ray of its own or on a cluster.

    Each setting is an option (--max-calls 50), a variable (SUMGRAD_MAX_CALLS=50) or a key of the
    file (max_calls = 50). Options count before variables, and variables before the file.
    """
    from sumgrad.trainer.service.settings_sources import read_settings

    # An empty value, like an empty variable, is not given.
    given = {name: value for name, value in options.items() if value not in (None, "", [])}
    asyncio.run(_serve(read_settings(given, config, os.environ)))


def _parameter(setting: Setting) -> inspect.Parameter:
    """The option of a setting; None where it is not given."""
    kind: Any = setting.field.annotation
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(each for each in get_args(kind) if each is not types.NoneType)
    if get_origin(kind) is Annotated:
        kind, *_ = get_args(kind)
    if setting.is_list:
        kind = types.GenericAlias(list, get_args(kind)[:1])
    flags = f"{setting.flag}/--no-{setting.flag[2:]}" if kind is bool else setting.flag
    option = typer.Option(
        flags,
        metavar="N" if kind is int else setting.option.metavar,
        help=_help(setting),
        rich_help_panel=setting.option.group,
        show_default=False,
    )
    return inspect.Parameter(
        setting.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[Optional[kind], option],  # noqa: UP045
    )


def _help(setting: Setting) -> str:
    default = setting.default
    if isinstance(default, bool):
        default = "yes" if default else "no"
    words = setting.option.default if default is None else default
    variable = f"  [variable: {setting.variable}]" if setting.option.variable else ""
    repeatable = " Repeatable." if setting.is_list else ""
    return f"{setting.description}{repeatable}  [default: {words}]{variable}"


first, *_ = inspect.signature(serve).parameters.values()
serve.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [first.replace(annotation=Config), *map(_parameter, table().values())]
)
app.command(rich_help_panel=SERVICE)(serve)


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
