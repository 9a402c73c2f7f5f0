"""The Python client: submit runs, watch them, get their results.

from trainer.client import Client

with Client() as client:
    run = client.submit("examples/digits.toml")
    print(run.wait().result.accuracy)
"""

from trainer.client.async_client import AsyncClient
from trainer.client.async_run_handle import AsyncRunHandle
from trainer.client.client import Client
from trainer.client.errors import (
    BusyError,
    ClientError,
    CursorExpiredError,
    ElsewhereError,
    EndedError,
    FilesError,
    InvalidRequestError,
    NotAllowedError,
    NotAuthenticatedError,
    NotEndedError,
    NotFoundError,
    NotPausedError,
    NoWeightsError,
    PreconditionError,
    QueueFullError,
    RequestConflictError,
    UnreachableError,
    WaitTimeoutError,
    WorkersError,
)
from trainer.client.requests import Point, read_spec
from trainer.client.run_handle import RunHandle

__all__ = [
    "AsyncClient",
    "AsyncRunHandle",
    "BusyError",
    "Client",
    "ClientError",
    "CursorExpiredError",
    "ElsewhereError",
    "EndedError",
    "FilesError",
    "InvalidRequestError",
    "NoWeightsError",
    "NotAllowedError",
    "NotAuthenticatedError",
    "NotEndedError",
    "NotFoundError",
    "NotPausedError",
    "Point",
    "PreconditionError",
    "QueueFullError",
    "RequestConflictError",
    "RunHandle",
    "UnreachableError",
    "WaitTimeoutError",
    "WorkersError",
    "read_spec",
]
