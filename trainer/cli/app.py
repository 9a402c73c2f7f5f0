"""The command: its verbs, the options before them, and the exit code of each error."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Annotated, Any

import typer

from sumgrad.trainer.cli import verbs
from sumgrad.trainer.cli.exit_codes import ExitCode
from sumgrad.trainer.cli.help import App
from sumgrad.trainer.cli.output import say
from sumgrad.trainer.errors import UnavailableError, UsageError
from sumgrad.trainer.extras import needs

app = App(
    help="Train networks on many workers, with the same bits at any number of them.",
    no_args_is_help=True,
)
for module in iter_modules(verbs.__path__):
    app.add_typer(import_module(f"{verbs.__name__}.{module.name}").app)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"sumgrad {version('sumgrad')}")
        raise typer.Exit


def _file(variable: str, text: str) -> Any:
    return typer.Option(metavar="FILE", envvar=variable, help=text)


@app.callback()
def connection(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version and exit."
        ),
    ] = False,
    ca: Annotated[Path | None, _file("SUMGRAD_CA", "Certificates (PEM) of the service.")] = None,
    cert: Annotated[Path | None, _file("SUMGRAD_CERT", "Your certificate (PEM).")] = None,
    key: Annotated[Path | None, _file("SUMGRAD_KEY", "Key of your certificate (PEM).")] = None,
) -> None:
    # Where every client of the command looks; a token has no option, for others could read it.
    for name, path in (("SUMGRAD_CA", ca), ("SUMGRAD_CERT", cert), ("SUMGRAD_KEY", key)):
        if path is not None:
            os.environ[name] = str(path)


def main() -> None:
    """Run the command; every expected error is a sentence and an exit code."""
    sys.exit(run())


def run() -> int:
    """Run the command and return its exit code."""
    try:
        app()
    except KeyboardInterrupt:
        say("interrupted")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout, like `head`, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else ExitCode.BAD_INPUT
    except Exception as error:
        return _failed(error)
    return ExitCode.OK


def _failed(error: Exception) -> ExitCode:
    """Report an error on stderr; what is not expected is a mistake in sumgrad."""
    # Imported for errors only: help and completion load neither gRPC nor NumPy.
    from sumgrad.trainer.client import ClientError, DamagedDownloadError, UnreachableError
    from sumgrad.trainer.spec.violations import InvalidSpecError

    match error:
        case InvalidSpecError():
            for violation in error.violations:
                say(f"error: {violation}")
            return ExitCode.BAD_INPUT
        case UnreachableError() | UnavailableError():
            say(f"error: {error}")
            return ExitCode.NO_SERVICE
        case UsageError() | ClientError() | DamagedDownloadError():
            say(f"error: {error}")
            return ExitCode.BAD_INPUT
    if needed := needs(error):
        say(f"error: this {needed}")
        return ExitCode.BAD_INPUT
    if os.environ.get("SUMGRAD_DEBUG"):
        raise error
    say(f"internal error: {type(error).__name__}: {error}")
    say("this is a mistake in sumgrad; SUMGRAD_DEBUG=1 shows where, please report it")
    return ExitCode.INTERNAL_ERROR
