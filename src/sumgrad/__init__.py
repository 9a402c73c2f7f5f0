"""sumgrad: a distributed mini-batch trainer whose weights have the same bits at any worker count.

```python
from sumgrad import Client

with Client() as client:
    run = client.submit("examples/digits.toml")
    print(run.wait().result.accuracy)
```

Names are loaded when they are first used: ``from sumgrad import Client`` loads gRPC, protobuf and
NumPy, and neither Ray nor the parameter server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sumgrad.layers import LAYERS, LOSSES, Layer, Loss, Network
    from sumgrad.trainer.client import (
        AsyncClient,
        AsyncRunHandle,
        BusyError,
        Client,
        ClientError,
        CursorExpiredError,
        DamagedDownloadError,
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
        Point,
        PreconditionError,
        Prediction,
        QueueFullError,
        RequestConflictError,
        RunHandle,
        UnreachableError,
        WaitTimeoutError,
        WorkersError,
    )
    from sumgrad.trainer.errors import UsageError
    from sumgrad.trainer.spec.violations import InvalidSpecError, Violation

    __version__: str

__all__ = [
    "LAYERS",
    "LOSSES",
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
    "InvalidSpecError",
    "Layer",
    "Loss",
    "Network",
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
    "UsageError",
    "Violation",
    "WaitTimeoutError",
    "WorkersError",
    "__version__",
]

_HOMES = dict.fromkeys(__all__, "sumgrad.trainer.client") | {
    "LAYERS": "sumgrad.layers",
    "LOSSES": "sumgrad.layers",
    "Layer": "sumgrad.layers",
    "Loss": "sumgrad.layers",
    "Network": "sumgrad.layers",
    "InvalidSpecError": "sumgrad.trainer.spec.violations",
    "UsageError": "sumgrad.trainer.errors",
    "Violation": "sumgrad.trainer.spec.violations",
}
"""The module of each name; most are the client's."""

if not TYPE_CHECKING:  # for which a name that is none would be an Any

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version

            return version("sumgrad")
        if name not in _HOMES:
            raise AttributeError(f"module 'sumgrad' has no attribute {name!r}")
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
