"""What a base installation leaves out, and the line that installs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "service": (
        "alembic",
        "fsspec",
        "grpc_channelz",
        "grpc_reflection",
        "prometheus_client",
        "pydantic_settings",
        "ray",
        "sklearn",
        "sqlalchemy",
        "threadpoolctl",
        "zmq",
    ),
    "postgres": ("psycopg",),
    "s3": ("s3fs",),
}
"""The packages that each extra of the distribution brings, as they are imported."""

_NAMES = {"service": "the service", "postgres": "the Postgres driver", "s3": "s3fs"}


def install(extra: str) -> str:
    """The line that installs an extra."""
    return f"pip install 'sumgrad[{extra}]'"


def needs(error: BaseException) -> str | None:
    """The end of a sentence: ``needs the service: pip install 'sumgrad[service]'``.

    Returns:
        None where the error does not come from a package that an extra would bring.
    """
    for cause in _chain(error):
        if isinstance(cause, ImportError) and (extra := _extra_of(cause.name or "")):
            return f"needs {_NAMES[extra]}: {install(extra)}"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _extra_of(module: str) -> str | None:
    package = module.partition(".")[0]
    return next((extra for extra, packages in EXTRAS.items() if package in packages), None)
