"""sumgrad: a distributed mini-batch trainer whose weights have the same bits at any worker count.

```python
from sumgrad import Client

with Client() as client:
    run = client.submit("examples/digits.toml")
    print(run.wait().result.accuracy)
```

Names are loaded when they are first used: ``from sumgrad import Client`` loads gRPC and protobuf,
and neither Ray nor the parameter server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sumgrad.layers import LAYERS, LOSSES, Layer, Loss, Network
    from sumgrad.trainer.client import AsyncClient, AsyncRunHandle, Client, ClientError, RunHandle
    from sumgrad.trainer.errors import UsageError
    from sumgrad.trainer.spec.violations import InvalidSpecError

__all__ = [
    "LAYERS",
    "LOSSES",
    "AsyncClient",
    "AsyncRunHandle",
    "Client",
    "ClientError",
    "InvalidSpecError",
    "Layer",
    "Loss",
    "Network",
    "RunHandle",
    "UsageError",
    "__version__",
]

_HOMES = {
    "sumgrad.layers": ("LAYERS", "LOSSES", "Layer", "Loss", "Network"),
    "sumgrad.trainer.client": (
        "AsyncClient",
        "AsyncRunHandle",
        "Client",
        "ClientError",
        "RunHandle",
    ),
    "sumgrad.trainer.errors": ("UsageError",),
    "sumgrad.trainer.spec.violations": ("InvalidSpecError",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("sumgrad")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'sumgrad' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
