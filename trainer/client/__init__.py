"""How does a program talk to the service? It submits runs, watches them and gets their results.

from sumgrad import Client

with Client() as client:
    run = client.submit("examples/digits.toml")
    print(run.wait().result.accuracy)
"""

from sumgrad.trainer.client._async.client import AsyncClient
from sumgrad.trainer.client._async.run import AsyncRunHandle
from sumgrad.trainer.client._sync.client import Client
from sumgrad.trainer.client._sync.run import RunHandle
from sumgrad.trainer.client.errors import (
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
from sumgrad.trainer.client.prediction import Prediction
from sumgrad.trainer.client.requests import Point, read_spec
from sumgrad.trainer.client.weights_download import DamagedDownloadError

__all__ = [
    "AsyncClient",
    "AsyncRunHandle",
    "BusyError",
    "Client",
    "ClientError",
    "CursorExpiredError",
    "DamagedDownloadError",
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
    "Prediction",
    "QueueFullError",
    "RequestConflictError",
    "RunHandle",
    "UnreachableError",
    "WaitTimeoutError",
    "WorkersError",
    "read_spec",
]
